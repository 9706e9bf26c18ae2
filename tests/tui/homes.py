"""Homes with runs in them, as weeks of work leave them."""

from __future__ import annotations

import json
import os

from tests.tui.stage import NOW, STEPS, Stage
from toolkit.core import events as ev
from toolkit.core.run import Run

HOUR, DAY = 3600, 86400
TOOK = {"quantize": 134.0, "finetune-travel": 421.0, "export-cpu": 96.0, "adapter-cpu-travel": 4.0, "evaluate-cpu-travel": 61.0}


def done(run: Run, *steps: str, at: float = NOW) -> None:
    """These steps are behind the run."""
    for step in steps:
        run.append(ev.StepStarted(at=at, step=step))
        run.append(ev.StepFinished(at=at, step=step, seconds=TOOK.get(step, 12.0)))


def finished_build(stage: Stage, age: float = DAY, name: str = "travel") -> Run:
    run = stage.add_run(name=name, age=age)
    done(run, *STEPS, at=NOW - age)
    run.append(ev.RunFinished(at=NOW - age + 716, seconds=716))
    return run


def write_manifest(run: Run, artifacts: list[dict]) -> None:
    """What a finished build says that it made."""
    manifest = {"format": 1, "run": run.id, "artifacts": artifacts, "metrics": {}}
    (run.folder / "manifest.json").write_text(json.dumps(manifest))


def packaged(stage: Stage, build: Run, age: float, name: str = "travel") -> Run:
    """A finished packaging of the build as an image."""
    options = {"build": build.id, "device": "cpu", "engine": "docker", "tag": f"edge-toolkit/{name}-cpu:{build.id[:4]}"}
    kinds = ("collect", "image", "smoke")
    run = stage.add_run("package", name, kinds, age, options, engine="docker")
    done(run, *kinds, at=NOW - age)
    run.append(ev.RunFinished(at=NOW - age + 36, seconds=36))
    return run


def failed_publish(stage: Stage, age: float, username: str = "") -> Run:
    options = {"image": "edge-toolkit/travel-cpu:0001", "target": "registry.example/travel:0001", "username": username}
    run = stage.add_run("publish", "travel", ("push", "verify"), age, options, engine="docker")
    run.append(ev.StepStarted(at=NOW - age, step="push"))
    hint = "Give a user name and its password."
    run.append(ev.StepFailed(at=NOW - age, step="push", error="The registry registry.example refused the credentials.", hint=hint))
    return run


def running_build(stage: Stage, age: float = 900, name: str = "travel") -> Run:
    """Fine-tuning, a third of it done, by a living driver."""
    run = stage.add_run(name=name, age=age)
    stage.drive(run)
    done(run, "quantize", at=NOW - age)
    run.append(ev.StepStarted(at=NOW - 140, step="finetune-travel"))
    run.append(ev.StepProgress(at=NOW - 1, step="finetune-travel", done=40, total=120, unit="steps", metrics={"loss": 1.21}))
    return run


def one_of_each(stage: Stage) -> dict[str, Run]:
    """A run in every state there is; by state."""
    build = finished_build(stage, age=9 * DAY)
    runs = {"finished": build, "packaged": packaged(stage, build, 8 * DAY), "failed": failed_publish(stage, 8 * DAY - HOUR)}
    runs["stopped"] = stage.add_run(name="persona", age=3 * DAY)
    done(runs["stopped"], "quantize", at=NOW - 3 * DAY)
    runs["stopped"].append(ev.RunStopped(at=NOW - 3 * DAY))
    runs["interrupted"] = stage.add_run(age=5 * HOUR)
    done(runs["interrupted"], "quantize", "finetune-travel", at=NOW - 5 * HOUR)
    runs["interrupted"].append(ev.RunInterrupted(at=NOW - 5 * HOUR, out_of_memory=True, reason="out of memory"))
    runs["unreadable"] = stage.add_run(name="elsewhere", age=2 * HOUR)
    (runs["unreadable"].folder / "request.json").write_text('{"format": 99, "kind": "build"}')
    runs["running"] = running_build(stage)
    runs["requested"] = stage.add_run(name="persona", age=20)
    stage.engine.alive[runs["requested"].id] = os.open(os.devnull, os.O_RDONLY)
    return runs
