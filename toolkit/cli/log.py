"""log: the raw output of a run or of one of its steps, as it grows, filtered as in the terminal UI."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from toolkit.cli.runs import _bench
from toolkit.errors import ExitCode, RunError

if TYPE_CHECKING:
    from toolkit.core.logfile import LogFile
    from toolkit.core.run import Run
    from toolkit.core.workbench import Workbench

POLL_SECONDS = 0.2
FOLLOW_LINES = 20
"""Lines that are there already and are shown when a log is followed."""


@click.command("log", help="Print the raw output of RUN. With -f: its end, and what comes until the run ends.")
@click.argument("run")
@click.option("--follow", "-f", is_flag=True, help="Go on as the log grows, until the run ends. Ctrl-C detaches.")
@click.option("--step", default="", help="Only the output of this step.")
@click.option("--grep", default="", metavar="TEXT", help="Only lines with TEXT, in any case unless it has a capital; !TEXT: lines without.")
@click.option("--lines", "-n", type=click.IntRange(0), default=None, help="Only the last N lines of what is there.")
def log_command(run: str, follow: bool, step: str, grep: str, lines: int | None) -> int:
    from toolkit.core.logfile import LogFile, log_path

    bench = _bench()
    found = bench.run(run)
    names = [asked["name"] for asked in found.request["steps"]]
    if step and step not in names:
        raise RunError(f"Run {found.id} has no step '{step}'.", f"It has: {', '.join(names)}.")
    log = LogFile(log_path(found, step))
    try:
        numbers = _fitting(log, grep)
        if follow:
            numbers = [number for number in numbers if number < log.whole_lines]  # the others are printed once they have their end
            lines = FOLLOW_LINES if lines is None else lines
        for number in numbers if lines is None else numbers[max(len(numbers) - lines, 0) :]:
            click.echo(log.whole(number))
        if follow:
            _follow(bench, found, log, grep)
    except KeyboardInterrupt:
        return ExitCode.DETACHED
    return ExitCode.OK


def _fitting(log: LogFile, grep: str) -> Sequence[int]:
    """The numbers of the lines that are there and fit."""
    from toolkit.core.logsearch import Filtered, Pattern

    while log.grow():
        pass
    if not grep:
        return range(len(log))
    filtered = Filtered(log, Pattern(grep))
    while filtered.grow():
        pass
    return filtered.numbers


def _follow(bench: Workbench, run: Run, log: LogFile, grep: str) -> None:
    """Print whole lines as they come; the run is asked before the log, so that its last words are never missed."""
    from toolkit.core.listing import state_of
    from toolkit.core.logsearch import Pattern

    pattern = Pattern(grep) if grep else None
    at, generation, has_ended = log.whole_lines, log.generation, False
    while not has_ended:
        has_ended = state_of(bench, run).has_ending
        while log.grow():
            pass
        if generation != log.generation:
            at, generation = 0, log.generation
        until = len(log) if has_ended else log.whole_lines
        for piece in log.slices(at, until):
            for number in pattern.hits(piece) if pattern else range(piece.first, piece.first + piece.count):
                click.echo(log.whole(number))
        at = max(at, until)
        if not has_ended:
            time.sleep(POLL_SECONDS)
