"""How a run lives: start, attach, stop, resume, settle. Who drives it is the engine's affair; these only watch folders."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

from toolkit.core import events as ev
from toolkit.core.engine import BuildEngine, Exit
from toolkit.core.run import Run, RunState, follow
from toolkit.errors import RunBusy, RunError, ToolkitError

GRACE_SECONDS = 10.0
"""A run just requested may take so long until its driver shows."""


def start(engine: BuildEngine, run: Run) -> None:
    """Let `engine` drive the run; also the way to resume it, since finished steps are kept.

    Raises:
        RunBusy: it is being driven already.
        EngineError: the driver could not be started; the run is settled as interrupted.
    """
    _let_go(engine, run)
    with run.locked() as lock:
        if engine.is_alive(run):
            raise RunBusy(f"Run {run.id} is being driven already.", f"Watch it with `edge attach {run.id}`.")
        engine.forget(run)
        ev.release_reserve(run.folder)
        ev.make_reserve(run.folder)
        (run.folder / ev.STOP_FILE).unlink(missing_ok=True)
        run.append(ev.RunRequested(run=run.id, kind=run.kind, steps=tuple(step["name"] for step in run.request["steps"])))
        try:
            engine.start(run, lock)
        except ToolkitError as exc:
            run.append(ev.RunInterrupted(reason=f"the driver did not start: {exc.message}"))
            raise


def _let_go(engine: BuildEngine, run: Run) -> None:
    """A driver that has written its ending may need a moment to leave."""
    deadline = time.monotonic() + GRACE_SECONDS
    while run.state().has_ending and is_driven(engine, run) and time.monotonic() < deadline:
        time.sleep(0.05)


def resume(engine: BuildEngine, run: Run) -> None:
    """Start the run again where it is.

    Raises:
        RunError: it has finished, there is nothing left to do.
    """
    if settle(engine, run).status == "finished":
        raise RunError(f"Run {run.id} has finished; there is nothing to resume.", f"`edge show {run.id}` shows what it made.")
    start(engine, run)


def is_driven(engine: BuildEngine, run: Run) -> bool:
    return run.is_locked() or engine.is_alive(run)


def attach(engine: BuildEngine, run: Run, leave: Callable[[], bool] = lambda: False) -> Iterator[ev.Event]:
    """Every event of the run from the first to its ending. The same call after a minute or a week."""
    run.request  # noqa: B018  refuse a folder we cannot read before following it
    seen_ending = False
    for event in follow(run, lambda: is_driven(engine, run), leave):
        seen_ending = isinstance(event, (ev.RunFinished, ev.RunStopped, ev.RunInterrupted, ev.StepFailed))
        yield event
    if leave() or seen_ending:
        return
    state = settle(engine, run, grace_seconds=0)
    if state.status == "interrupted":
        yield ev.RunInterrupted(at=state.last_at or 0, reason=state.problem)


def settle(engine: BuildEngine, run: Run, grace_seconds: float = GRACE_SECONDS) -> RunState:
    """The run's state, after writing the ending of a run whose driver is gone. Twice is harmless."""
    state = run.state()
    if state.has_ending or is_driven(engine, run) or _just_requested(run, state, grace_seconds):
        return state
    try:
        with run.locked():
            state = run.state()
            if not state.has_ending and not engine.is_alive(run):
                run.append(_interruption(engine.exit_of(run)))
    except RunBusy:
        pass  # somebody else settles it, or resumed it
    return run.state()


def _just_requested(run: Run, state: RunState, grace_seconds: float) -> bool:
    return state.status == "requested" and time.time() - (state.requested_at or _made_at(run)) < grace_seconds


def _made_at(run: Run) -> float:
    """When its folder was made, of a run that has no event yet."""
    try:
        return run.folder.stat().st_mtime
    except OSError:
        return 0.0


def _interruption(ended: Exit | None) -> ev.RunInterrupted:
    if ended is None:
        return ev.RunInterrupted(reason="its driver is gone: killed, or the machine or the engine restarted")
    reason = ended.reason or ("out of memory" if ended.out_of_memory else f"its driver ended with exit code {ended.code}")
    return ev.RunInterrupted(exit_code=ended.code, out_of_memory=ended.out_of_memory, reason=reason)


def stop(engine: BuildEngine, run: Run) -> RunState:
    """End a run that is driven now.

    Raises:
        RunError: nothing drives it.
    """
    if not is_driven(engine, run):
        state = settle(engine, run, grace_seconds=0)
        raise RunError(
            f"Run {run.id} is not running; it is {state.status}.",
            f"`edge resume {run.id}` continues it." if state.status != "finished" else "",
        )
    (run.folder / ev.STOP_FILE).touch()
    engine.stop(run)
    state = run.state()
    if not state.has_ending or state.status == "interrupted":
        run.append(ev.RunStopped())
    return run.state()


def remove(engine: BuildEngine, run: Run) -> None:
    """Delete a run that nobody drives, with what the engine keeps of it.

    Raises:
        RunBusy: it is being driven.
    """
    with run.locked():
        if engine.is_alive(run):
            raise RunBusy(f"Run {run.id} is being driven.", f"`edge stop {run.id}` first.")
        engine.forget(run)
        doomed = run.folder.with_name(f".removed-{run.id}")
        run.folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
