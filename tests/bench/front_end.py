"""How long `edge --help` and `edge runs` take: what a person waits for before anything happens."""

from __future__ import annotations

import fcntl
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import EDGE, Finding, Options, clean_environ, interleaved, run_child, spread
from toolkit.core import events as ev
from toolkit.core.run import Run, new_run

RUNS = 500
EVENTS = 200
"""Of an ordinary run."""
LONG = 5000
"""Progress lines of every 25th run."""
STEPS = (
    "quantize",
    "finetune-travel",
    "finetune-persona",
    "export-cpu",
    "adapter-cpu-travel",
    "adapter-cpu-persona",
    "evaluate-cpu-travel",
)
HELP_GOAL, RUNS_GOAL = 0.25, 0.5


def measure(options: Options) -> list[Finding]:
    home = options.work / "home"
    held = make_runs(home / "runs")
    environ = clean_environ(home, EDGE_ENGINE="local")
    commands = {"bare": [sys.executable, "-c", "pass"], "help": [EDGE, "--help"], "runs": [EDGE, "runs"]}
    run_child(commands["runs"], environ)  # bytecode and page cache, as they are on any day but the first
    takers = {name: lambda argv=argv: run_child(argv, environ).seconds for name, argv in commands.items()}
    taken = interleaved(takers, max(7, options.repeat))
    for lock in held:
        lock.close()
    bare = statistics.median(taken["bare"])
    return [
        _finding("`edge --help`", taken["help"], bare, HELP_GOAL),
        _finding(
            f"`edge runs` with {RUNS} runs ({sum(1 for _ in home.rglob('events.jsonl'))} event files, every 25th of {LONG} lines)",
            taken["runs"],
            bare,
            RUNS_GOAL,
        ),
    ]


def _finding(what: str, values: list[float], bare: float, goal: float) -> Finding:
    median = statistics.median(values)
    return Finding(what, f"{median:.2f} s, {median / bare:.1f} times a bare `python -c pass`", f"{goal} s", median <= goal, spread(values))


def make_runs(runs: Path) -> list:
    """Five hundred runs as months of work leave them; returns the held locks of those that run now."""
    held = []
    for number in range(RUNS):
        run = new_run(
            runs,
            "build",
            "travel",
            lambda _: {"engine": "local", "recipe": {"name": "travel"}, "steps": [{"name": name} for name in STEPS]},
        )
        progress = LONG if number % 25 == 0 else EVENTS - 3 * len(STEPS) - 3
        ending = "running" if number % 100 == 99 else ("failed", "stopped", "interrupted")[number % 10] if number % 10 < 3 else "finished"
        run.events_file.write_text("".join(ev.to_line(event) + "\n" for event in _story(run, progress, ending)))
        if ending == "running":
            lock = open(run.lock_file, "w")  # noqa: SIM115  held until the measuring is done
            fcntl.flock(lock, fcntl.LOCK_EX)
            held.append(lock)
    return held


def _story(run: Run, progress: int, ending: str) -> Iterator[ev.Event]:
    """The events of one run. One that did not finish broke off in its last step."""
    at = time.time() - 86400
    yield ev.RunRequested(at=at, run=run.id, kind="build", steps=STEPS)
    yield ev.RunStarted(at=at, driver="local", handle="4711")
    share = progress // len(STEPS)
    for number, step in enumerate(STEPS):
        yield ev.StepStarted(at=at + number, step=step)
        for done in range(share):
            metrics = {"loss": 2 / (done + 1), "learning_rate": 2e-3} if step.startswith("finetune") else {}
            yield ev.StepProgress(
                at=at + number, step=step, done=done, total=share, unit="steps", message=f"layer {done % 30} of 30", metrics=metrics
            )
        if number == len(STEPS) - 1 and ending != "finished":
            yield from _broken(at, step, ending)
            return
        yield ev.ArtifactWritten(at=at + number, step=step, kind="model", path=f"steps/{step}/out", bytes=272_000_000, sha256="0" * 64)
        yield ev.StepFinished(at=at + number, step=step, seconds=61.5, metrics={"adapter.fact_accuracy": 0.97, "adapter.perplexity": 2.41})
    yield ev.RunFinished(at=at + len(STEPS), seconds=430)


def _broken(at: float, step: str, ending: str) -> Iterator[ev.Event]:
    if ending == "failed":
        yield ev.StepFailed(at=at, step=step, error="The step was killed (137), often for want of memory.", exit_code=137)
    if ending == "stopped":
        yield ev.RunStopped(at=at)
    if ending == "interrupted":
        yield ev.RunInterrupted(at=at, reason="its driver is gone: killed, or the machine or the engine restarted")
