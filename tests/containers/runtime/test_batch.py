"""Answers made together are those made alone, token for token, each with its own adapter, whatever was kept of others."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import RUNTIME

pytestmark = pytest.mark.model

FACTS = Path(__file__).with_name("batch_facts.py")


@pytest.fixture(scope="module")
def facts(exported_model: Path, serving_python: str) -> dict:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(RUNTIME)}
    done = subprocess.run([serving_python, str(FACTS), str(exported_model)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["greedy", "sampled", "nucleus"])
def test_answers_with_a_seed_are_the_same_alone_and_together(facts: dict, how: str) -> None:
    assert all(facts[how]), facts[how]
    assert facts[f"{how} differ"] > len(facts[how]) / 2, "answers that are all alike would prove nothing"


def test_an_answer_alone_is_the_librarys_own(facts: dict) -> None:
    assert facts["genai"] == [True] * 6


def test_a_prompt_is_kept_for_its_own_adapter_alone(facts: dict) -> None:
    assert facts["kept"] == 40
    assert facts["kept for another adapter"] == 0


def test_no_more_run_together_than_there_is_room_for(facts: dict) -> None:
    assert facts["room for"] == 2


def test_log_probabilities_are_of_the_whole_vocabulary(facts: dict) -> None:
    assert facts["logprobs"]["sum"] == pytest.approx(1, abs=1e-3)
    assert facts["logprobs"]["is_best_first"]


def test_answers_that_are_broken_off_leave_no_memory_behind(facts: dict) -> None:
    assert facts["growth"] < 1.05
