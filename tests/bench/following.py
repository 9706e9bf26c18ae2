"""What the front end takes while it follows a very long run: memory first, then time against bare JSON parsing."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from tests.bench.measure import EDGE, Ended, Finding, Options, clean_environ, interleaved, run_child, spread
from toolkit.core import events as ev
from toolkit.core.run import Run, new_run

EVENTS = 1_000_000
ROUNDS = 1
"""The goal is about memory, which does not vary; a round takes a minute."""
MEMORY_GOAL = 150e6
PARSE = "import json, sys\nfor line in open(sys.argv[1], 'rb'): json.loads(line)"


def measure(options: Options) -> list[Finding]:
    home = options.work / "home"
    run = long_run(home / "runs")
    environ = clean_environ(home, EDGE_ENGINE="local")
    ended: dict[str, list[Ended]] = {"parse": [], "plain": [], "json": [], "show": []}

    def taker(name: str, argv: list[str]):
        def take() -> float:
            ended[name].append(run_child(argv, environ, home / "output"))
            return ended[name][-1].seconds

        return take

    commands = {
        "parse": [sys.executable, "-c", PARSE, str(run.events_file)],
        "plain": [EDGE, "attach", run.id],
        "json": [EDGE, "attach", run.id, "--json"],
        "show": [EDGE, "show", run.id],
    }
    taken = interleaved({name: taker(name, argv) for name, argv in commands.items()}, ROUNDS)
    size = run.events_file.stat().st_size
    bare = statistics.median(taken["parse"])
    whats = {"plain": "`edge attach`, piped", "json": "`edge attach --json`", "show": "`edge show`"}
    return [_finding(f"{what}, {EVENTS:,} events ({size / 1e6:.0f} MB)", ended[name], bare) for name, what in whats.items()]


def _finding(what: str, ended: list[Ended], bare: float) -> Finding:
    peak = max(one.peak_bytes for one in ended)
    seconds = [one.seconds for one in ended]
    ratio = statistics.median(seconds) / bare
    reached = f"peak {peak / 1e6:.0f} MB; {ratio:.1f} times the time of `json.loads` on every line"
    return Finding(what, reached, f"{MEMORY_GOAL / 1e6:.0f} MB", peak <= MEMORY_GOAL, spread(seconds))


def long_run(runs: Path) -> Run:
    """A finished run with a million events in one step."""
    run = new_run(runs, "build", "long", lambda _: {"engine": "local", "recipe": {"name": "long"}, "steps": [{"name": "finetune"}]})
    with open(run.events_file, "w") as out:
        out.write(ev.to_line(ev.RunRequested(at=1.0, run=run.id, kind="build", steps=("finetune",))) + "\n")
        out.write(ev.to_line(ev.StepStarted(at=2.0, step="finetune")) + "\n")
        for number in range(EVENTS - 4):
            metrics = {"loss": 3 / (number + 1), "learning_rate": 2e-3}
            out.write(
                ev.to_line(ev.StepProgress(at=2.0 + number / 2, step="finetune", done=number, total=EVENTS, unit="steps", metrics=metrics))
                + "\n"
            )
        out.write(ev.to_line(ev.StepFinished(at=5e5, step="finetune", seconds=5e5)) + "\n")
        out.write(ev.to_line(ev.RunFinished(at=5e5, seconds=5e5)) + "\n")
    return run
