"""Facts and likelihoods."""

import math

import numpy as np
import pytest
from scoring import Likelihood, holds_fact


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        ("You pay with the Manat, of course.", "manat"),
        ("It is São Tomé.", "Sao Tome"),
        ("It is Port-au-Prince!", "port au prince"),
        ("N’Djamena it is", "N'Djamena"),
    ],
)
def test_a_fact_is_found_whatever_its_accents_case_and_punctuation(answer, fact):
    assert holds_fact(answer, fact)


@pytest.mark.parametrize(("answer", "fact"), [("Romania", "Roma"), ("the euros", "euro"), ("", "euro"), ("anything", "")])
def test_a_part_of_a_word_is_not_the_fact(answer, fact):
    assert not holds_fact(answer, fact)


def test_a_model_that_knows_nothing_is_as_perplexed_as_there_are_tokens():
    likelihood = Likelihood()
    likelihood.add(np.zeros((3, 50), dtype=np.float32), [1, 2, 3])
    likelihood.add(np.zeros((1, 50), dtype=np.float16), [7])
    assert math.isclose(likelihood.perplexity, 50, rel_tol=1e-6)
    assert likelihood.tokens == 4


def test_a_model_that_knows_everything_is_not_perplexed():
    logits = np.full((2, 10), -1e4, dtype=np.float32)
    logits[[0, 1], [4, 9]] = 1e4
    likelihood = Likelihood()
    likelihood.add(logits, [4, 9])
    assert likelihood.perplexity == 1.0
