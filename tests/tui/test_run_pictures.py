"""How the run screen looks, state by state."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from textual.pilot import Pilot

from tests.tui import stories
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from toolkit.core import events as ev
from toolkit.core.run import Run
from toolkit.tui.app import EdgeApp
from toolkit.tui.messages import ShowRun

STEPS = (
    "quantize",
    "finetune-travel",
    "finetune-persona",
    "export-cpu",
    "adapter-cpu-travel",
    "adapter-cpu-persona",
    "evaluate-cpu-travel",
    "evaluate-cpu-persona",
)
LOG = """\
== finetune-travel
[2026-09-21 14:11:04,102] [INFO] [engine.py:665:_run_pass] Running pass lora:lorawithevents
[transformers] `torch_dtype` is deprecated! Use `dtype` instead!
Loading weights: 100%|##########| 272/272 [00:00<00:00, 1783.94it/s]
UserWarning: the tokenizer has no padding token
{'loss': '2.678', 'learning_rate': '0', 'epoch': '0.0256'}
{'loss': '2.661', 'learning_rate': '0.0003333', 'epoch': '0.0513'}
{'loss': '0.1382', 'learning_rate': '0.0012', 'epoch': '1.487'}
"""


@pytest.fixture(autouse=True)
def clock_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def held(stage: Stage, run: Run) -> Run:
    """Let a driver hold the run without a word of its own."""
    with run.locked() as lock:
        stage.engine.alive[run.id] = os.dup(lock)
    return run


def a_build(stage: Stage, age: float = 250) -> Run:
    run = stories.wired(stage.add_run(steps=STEPS, age=age))
    (run.folder / "log.txt").write_text(LOG)
    return run


def training(stage: Stage) -> Run:
    stage_before = stories.wired(stage.add_run(steps=STEPS, age=90_000))
    stories.build(stage_before, NOW - 90_000)
    run = held(stage, a_build(stage))
    stories.build(run, NOW - 248, until="finetune-travel", share=0.7)
    return run


def finished(stage: Stage) -> Run:
    run = a_build(stage, age=900)
    stories.build(run, NOW - 898)
    return run


def failed(stage: Stage) -> Run:
    run = a_build(stage, age=700)
    at = stories.build(run, NOW - 698, until="export-cpu", share=0.5)
    error = "The export needs 2.1 GB of disk and 0.4 GB are free in /home/me/data."
    run.append(ev.StepFailed(at=at, step="export-cpu", error=error, hint="`edge clean` shows what can go; then resume the run."))
    return run


def interrupted(stage: Stage) -> Run:
    run = a_build(stage)
    at = stories.build(run, NOW - 248, until="finetune-travel", share=0.7)
    run.append(ev.RunInterrupted(at=at, exit_code=137, out_of_memory=True, reason="the build container was killed: out of memory"))
    return run


def packaged(stage: Stage) -> Run:
    run = stage.add_run("package", steps=("collect", "image", "smoke"), age=60)
    stories.package(run, NOW - 50)
    return run


def publishing(stage: Stage) -> Run:
    run = held(stage, stage.add_run("publish", steps=("push", "verify"), age=6))
    stories.push(run, NOW - 5)
    return run


def published(stage: Stage) -> Run:
    run = stage.add_run("publish", steps=("push", "verify"), age=60)
    stories.pushed(run, stories.push(run, NOW - 50, share=1.0))
    return run


def deleted(stage: Stage) -> Run:
    """A run whose folder is not there any more."""
    return Run(stage.settings.runs / "0007-build-travel")


def opened(run: Run, keys: tuple[str, ...], *texts: str):
    """Open the run, press the keys, and wait until all of this is to be read."""

    async def wait(pilot: Pilot) -> None:
        await pilot.pause()
        pilot.app.post_message(ShowRun(run.id))
        await until(pilot, lambda: texts[0] in text_of(pilot.app))
        await pilot.press(*keys)
        await until(pilot, lambda: all(text in text_of(pilot.app) for text in texts))

    return wait


CASES = {
    "training": (training, (), ("finetune-travel", "70%", "ETA 8 min"), SMALL),
    "training_curves": (training, ("tab",), ("finetune-travel", "[Curves]", "learning rate", "CPU"), SMALL),
    "training_log": (training, ("l",), ("finetune-travel", "8 lines"), SMALL),
    "training_events": (training, ("e",), ("finetune-travel", "[Events]", "quantize done"), SMALL),
    "training_large": (training, (), ("finetune-travel", "70%", "learning rate", "8 lines", "ETA 8 min"), LARGE),
    "finished": (finished, (), ("finished", "88%", "p Package"), SMALL),
    "finished_large": (finished, (), ("finished", "88%", "p Package", "8 lines", "→ 106.9 MB"), LARGE),
    "failed": (failed, (), ("FAILED", "r Resume"), SMALL),
    "interrupted": (interrupted, (), ("interrupted", "out of memory", "r Resume"), SMALL),
    "packaged": (packaged, (), ("a good first stop", "c Chat"), SMALL),
    "publishing": (publishing, (), ("adapter travel", "s Stop"), SMALL),
    "published": (published, (), (stories.DIGEST,), SMALL),
    "deleted": (deleted, (), ("was deleted",), SMALL),
}


@pytest.mark.parametrize("name", CASES)
def test_the_run_screen_looks_as_agreed(stage: Stage, snap_compare, name: str) -> None:
    story, keys, texts, size = CASES[name]
    app: EdgeApp = stage.app()
    assert snap_compare(app, terminal_size=size, run_before=opened(story(stage), keys, *texts))
