"""How far a run is and how long it still takes, judged by how fast it goes and by how long its steps took before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from toolkit.core.run import RunState, StepState
from toolkit.core.wording import is_telling

Taken = Mapping[tuple[str, str], float]
"""Seconds by (recipe, step)."""


@dataclass(frozen=True)
class Outlook:
    share: float | None
    """Of the work, 0 to 1: by the time the steps took before where that is known, else by their number."""
    eta_seconds: float | None = None
    """Until the step under way ends, and with `is_whole` until the run does. What comes from the cache takes less."""
    is_whole: bool = False


def taken_before(runs: Iterable[tuple[str, RunState]]) -> Taken:
    """How long each step of each recipe took when it was last done, not taken from the cache; (recipe, state), oldest first."""
    return {
        (recipe, step.name): step.seconds
        for recipe, state in runs
        for step in state.steps.values()
        if step.seconds is not None and not step.cached and step.status == "finished"
    }


def outlook(recipe: str, state: RunState, taken: Taken, now: float) -> Outlook:
    before = {name: taken.get((recipe, name)) for name in state.steps}
    return Outlook(_share(state, before), *_eta(state, before, now))


def _share(state: RunState, before: Mapping[str, float | None]) -> float | None:
    if not state.steps:
        return None
    known = sum(before.values()) if None not in before.values() else 0
    weights = before if known else dict.fromkeys(state.steps, 1)
    return sum(weights[step.name] * _done_share(step) for step in state.steps.values()) / sum(weights.values())


def _done_share(step: StepState) -> float:
    if step.status == "finished":
        return 1.0
    return min(step.done / step.total, 1.0) if step.total else 0.0


def _eta(state: RunState, before: Mapping[str, float | None], now: float) -> tuple[float | None, bool]:
    """(seconds, True) to the end of the run where every step to come was done before, else (seconds, False) to the step's end."""
    current = state.current
    if state.has_ending or current is None:
        return None, False
    left = _left(current, before[current.name], now)
    to_come = [before[step.name] for step in state.steps.values() if step.status == "waiting"]
    if left is None or None in to_come:
        return left, False
    return left + sum(to_come), True


def _left(step: StepState, before: float | None, now: float) -> float | None:
    """Seconds until the step ends: as fast as so far, else as long as it took before."""
    passed = max(0.0, now - step.started_at) if step.started_at else 0.0
    if step.total and step.done and is_telling(step, passed):
        return max(0.0, (step.total - step.done) * passed / step.done)
    return max(0.0, before - passed) if before is not None else None
