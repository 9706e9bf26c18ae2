"""What a kept cache may serve, and which one is taken."""

from __future__ import annotations

import sys

from tests.containers.runtime.conftest import RUNTIME

sys.path.insert(0, str(RUNTIME))

from lanes import LEAST_NEW, Lane, best_lane, common
from model import Sampling

SAMPLING = Sampling(max_tokens=8)


def lane(held: list[int], adapter: str = "", used_at: int = 0, steady: int = 0) -> Lane:
    return Lane(adapter=adapter, held=held, used_at=used_at, steady=steady)


def taken(lanes: list[Lane], adapter: str, prompt: list[int], only_steady: bool = False) -> tuple[int | None, int]:
    """Place of the lane taken, and what is kept of it."""
    best, kept = best_lane(lanes, adapter, prompt, only_steady=only_steady)
    return (None if best is None else lanes.index(best)), kept


def test_sequences_are_alike_up_to_the_first_token_that_differs() -> None:
    one = list(range(1000))
    for at in (0, 1, 499, 998, 999):
        other = one[:at] + [-1] + one[at + 1 :]
        assert common(one, other) == common(other, one) == at
    assert common(one, one[:77]) == 77
    assert common([], one) == 0


def test_the_lane_that_holds_most_of_the_prompt_is_taken() -> None:
    lanes = [lane([1, 2, 9]), lane([1, 2, 3, 4, 5]), lane([])]
    assert taken(lanes, "", [1, 2, 3, 4, 8, 8, 8]) == (1, 4)


def test_what_another_adapter_took_in_is_of_no_use() -> None:
    lanes = [lane([1, 2, 3, 4, 5], adapter="travel"), lane([1], used_at=1)]
    assert taken(lanes, "museum", [1, 2, 3, 4, 5, 6, 7]) == (0, 0)
    assert taken(lanes, "travel", [1, 2, 3, 4, 5, 6, 7]) == (0, 5)


def test_a_lane_in_use_is_never_taken() -> None:
    busy = lane([1, 2, 3, 4])
    busy.begin("", 4, 8, SAMPLING)
    assert taken([busy], "", [1, 2, 3, 4, 5, 6]) == (None, 0)
    assert taken([busy, lane([])], "", [1, 2, 3, 4, 5, 6]) == (1, 0)


def test_an_empty_lane_is_taken_before_one_that_may_still_be_of_use_and_then_the_longest_unused() -> None:
    lanes = [lane([7, 7], used_at=2), lane([8, 8], used_at=1), lane([])]
    assert taken(lanes, "", [1, 2, 3]) == (2, 0)
    assert taken(lanes[:2], "", [1, 2, 3]) == (1, 0)


def test_the_end_of_a_prompt_is_taken_in_even_where_all_of_it_is_held() -> None:
    assert taken([lane([1, 2, 3, 4, 5])], "", [1, 2, 3, 4]) == (0, 4 - LEAST_NEW)
    assert taken([lane([1, 2, 3])], "", [1]) == (0, 0)


def test_who_wants_the_same_answer_again_takes_only_what_was_computed_in_company() -> None:
    kept = lane([])
    kept.hold([1, 2, 3], is_alone=False)
    kept.hold([4], is_alone=True)
    kept.hold([5], is_alone=False)
    assert taken([kept], "", [1, 2, 3, 4, 5, 6, 7], only_steady=True) == (0, 3)
    assert taken([kept], "", [1, 2, 3, 4, 5, 6, 7]) == (0, 5)


def test_what_is_dropped_of_a_lane_is_forgotten() -> None:
    kept = lane([1, 2, 3, 4, 5], steady=5)
    kept.begin("travel", 2, 10, SAMPLING)
    assert (kept.held, kept.steady, kept.adapter, kept.is_busy) == ([1, 2], 2, "travel", True)
