"""The key-value caches: a row costs what it holds, and cutting or moving it touches no other."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import RUNTIME

pytestmark = pytest.mark.model

FACTS = Path(__file__).with_name("rows_facts.py")


@pytest.fixture(scope="module")
def facts(serving_python: str) -> dict:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(RUNTIME)}
    done = subprocess.run([serving_python, str(FACTS)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_row_costs_what_it_holds_and_no_more_once_it_is_cut(facts: dict) -> None:
    costs = facts["costs"]
    pages_of = lambda tokens: costs["heads"] * tokens // costs["a page holds"]  # noqa: E731
    assert (costs["fresh"], costs["full"], costs["cut"]) == (0, pages_of(512), pages_of(128))
    assert costs["kept"] == [7, 7, 7] and costs["gone"] == [0, 0, 0]


def test_cutting_one_row_leaves_the_other_and_what_it_keeps(facts: dict) -> None:
    assert facts["neighbours"]["own"] == [7, 7, 7] and facts["neighbours"]["other"] == [9, 9, 9]


def test_swapped_rows_hold_each_others_tokens(facts: dict) -> None:
    assert facts["neighbours"]["swapped"] == [9, 9, 9, 7, 7, 7] and facts["neighbours"]["not more"] == [0, 0, 0]
