"""Runs as rows and as documents, for whoever shows them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace

from toolkit.core import lifecycle
from toolkit.core.files import as_duration
from toolkit.core.run import Run, RunState
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing, ToolkitError


@dataclass(frozen=True)
class Row:
    """One run in a list."""

    id: str
    kind: str
    status: str
    progress: str
    """Finished steps of all, and the step under way."""
    age: str
    requested_at: float
    problem: str = ""


def listed(bench: Workbench) -> list[Row]:
    """Every run there is; one that cannot be read is a row that says so. Runs whose driver is gone are settled."""
    return [_row(bench, run) for run in bench.runs()]


def _row(bench: Workbench, run: Run) -> Row:
    try:
        state = state_of(bench, run)
    except (ToolkitError, OSError) as exc:
        return Row(run.id, "?", "unreadable", "", "", 0, str(exc))
    return Row(run.id, run.kind, state.status, _progress(state), _age(state), state.requested_at or 0, state.problem)


def state_of(bench: Workbench, run: Run) -> RunState:
    """The run's state, settled. Where its engine does not answer it stays as last known, with that as its problem."""
    state = run.state()
    if state.has_ending:
        return state
    try:
        return lifecycle.settle(bench.engine_of(run), run)
    except EngineMissing as exc:
        return replace(state, problem=f"its engine cannot be asked: {exc.message}", hint=exc.hint)


def _progress(state: RunState) -> str:
    counted = f"{state.finished_steps}/{len(state.steps)}"
    return f"{counted} {state.current.name}" if state.current else counted


def _age(state: RunState) -> str:
    return as_duration(max(0.0, time.time() - state.requested_at)) if state.requested_at else "-"


def details(run: Run, state: RunState) -> dict:
    """Everything known of a run, as plain values."""
    return {"id": run.id, "folder": str(run.folder), "request": run.request, "state": asdict(state)}
