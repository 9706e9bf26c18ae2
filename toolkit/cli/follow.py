"""Following a run on the terminal: bars with rate, ETA and loss where one looks, plain lines where it is piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from toolkit import errors
from toolkit.cli.output import say
from toolkit.core import events as ev
from toolkit.core import lifecycle
from toolkit.core.run import Run, RunState
from toolkit.core.wording import as_text, facts_of
from toolkit.core.workbench import Workbench
from toolkit.errors import ExitCode

PLAIN_SECONDS = 5.0
"""Between two progress lines of one step in plain output, by the events' own clock."""


def follow(bench: Workbench, run: Run, as_json: bool = False) -> int:
    """Follow the run to its ending; the exit code says how it ended. Ctrl-C detaches."""
    engine = bench.host_driver(b"") if run.state().has_ending else bench.engine_of(run)  # what has ended is read without its engine
    events = lifecycle.attach(engine, run)
    try:
        if as_json:
            state = _print_lines(events)
        elif sys.stdout.isatty():
            state = _draw_bars(events)
        else:
            state = _print_plain(events)
    except KeyboardInterrupt:
        say(f"\nDetached; run {run.id} goes on. Watch it again with: edge attach {run.id}")
        return ExitCode.DETACHED
    if state.problem and not as_json:
        say(f"Run {run.id} {state.status}: {state.problem}")
        if state.hint:
            say(f"  {state.hint}")
        say(f"  Go on with: edge resume {run.id}")
    return ExitCode.OK if state.status == "finished" else _code_of(run, state)


def _code_of(run: Run, state: RunState) -> int:
    """Of a run that did not finish: for publishing, that of the problem it ended with."""
    cause = next((step.cause for step in state.steps.values() if step.status == "failed"), "") if run.kind == "publish" else ""
    return getattr(getattr(errors, cause, None), "exit_code", ExitCode.FAILED)


def _print_lines(events: Iterable[ev.Event]) -> RunState:
    state = RunState()
    for event in events:
        state = state.after(event)
        sys.stdout.write(ev.to_line(event) + "\n")
        sys.stdout.flush()
    return state


def _print_plain(events: Iterable[ev.Event]) -> RunState:
    state = RunState()
    told: dict[str, float] = {}
    for event in events:
        state = state.after(event)
        if isinstance(event, ev.StepProgress):
            if event.at - told.get(event.step, 0) < PLAIN_SECONDS:
                continue
            told[event.step] = event.at
        if line := as_text(event, state):
            sys.stdout.write(f"{time.strftime('%H:%M:%S', time.localtime(event.at))} {line}\n")
            sys.stdout.flush()
    return state


def _draw_bars(events: Iterable[ev.Event]) -> RunState:
    from rich.progress import BarColumn, Progress, TextColumn

    state = RunState()
    columns = (TextColumn("{task.description:<24}"), BarColumn(24), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, transient=False, refresh_per_second=5) as progress:
        task = None
        for event in events:
            state = state.after(event)
            match event:
                case ev.StepStarted():
                    task = progress.add_task(event.step, total=None, facts="")
                case ev.StepProgress() if task is not None:
                    step = state.steps[event.step]
                    progress.update(task, completed=step.done, total=step.total, facts=facts_of(step, event.at))
                case ev.StepFinished() | ev.StepFailed() if task is not None:
                    progress.remove_task(task)
                    progress.console.print(as_text(event, state), highlight=False, markup=False)
                    task = None
                case _ if line := as_text(event, state):
                    progress.console.print(line, highlight=False, markup=False)
    return state
