"""How long a run still takes, and how long it has worked."""

from __future__ import annotations

import pytest

from toolkit.core.outlook import outlook
from toolkit.core.run import RunState, StepState
from toolkit.core.wording import seconds_left


def under_way(done: float) -> RunState:
    return RunState("build", "running", {"quantize": StepState("quantize", "running", done, 1000, "rows", started_at=100.0)})


@pytest.mark.parametrize(("done", "passed", "is_told"), [(1, 2, False), (1, 6, True), (40, 2, True), (40, 0.5, False)])
def test_no_time_left_is_told_before_a_step_has_shown_how_fast_it_goes(done: float, passed: float, is_told: bool) -> None:
    state = under_way(done)
    left = outlook("travel", state, {}, 100.0 + passed).eta_seconds
    assert (left is not None) == is_told
    assert (seconds_left(state.steps["quantize"], 100.0 + passed) is not None) == is_told
