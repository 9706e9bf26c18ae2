"""Text to calibrate on: one's own rows, general text, or a mixture that any beginning of it has already."""

import json

import pytest

from toolkit.core.calibration import mixed

OWN = [{"prompt": f"question {number}", "response": "answer " * (number % 5)} for number in range(200)]
GENERAL = [{"text": "general words " * (1 + number % 9)} for number in range(200)]


def size(rows: list[dict]) -> int:
    return sum(len(json.dumps(row)) for row in rows)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_every_beginning_holds_about_that_share_of_ones_own_rows(share):
    rows = mixed(OWN, GENERAL, share)
    for end in (30, 100, len(rows)):
        own = [row for row in rows[:end] if "prompt" in row]
        assert size(own) / size(rows[:end]) == pytest.approx(share, abs=0.1)


def test_it_ends_where_one_of_both_would_be_lacking():
    rows = mixed(OWN[:10], GENERAL, 0.5)
    assert sum("prompt" in row for row in rows) == 10
    assert len(rows) < 30


@pytest.mark.parametrize(("share", "wanted"), [(0, GENERAL), (1, OWN)])
def test_the_whole_of_one_is_the_whole_of_it(share, wanted):
    assert mixed(OWN, GENERAL, share) == wanted


def test_without_general_text_ones_own_rows_serve():
    assert mixed(OWN, [], 0.0) == OWN
