"""Runs as rows and as documents, for whoever shows them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from toolkit.core import lifecycle
from toolkit.core.files import as_duration
from toolkit.core.run import Run, RunState
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError


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
        state = run.state()
        if not state.has_ending:
            state = lifecycle.settle(bench.engine_of(run), run)
    except ToolkitError as exc:
        return Row(run.id, "?", "unreadable", "", "", 0, exc.message)
    return Row(run.id, run.kind, state.status, _progress(state), _age(state), state.requested_at or 0, state.problem)


def _progress(state: RunState) -> str:
    counted = f"{state.finished_steps}/{len(state.steps)}"
    return f"{counted} {state.current.name}" if state.current else counted


def _age(state: RunState) -> str:
    return as_duration(max(0.0, time.time() - state.requested_at)) if state.requested_at else "-"


def details(run: Run, state: RunState) -> dict:
    """Everything known of a run, as plain values."""
    return {"id": run.id, "folder": str(run.folder), "request": run.request, "state": asdict(state)}
