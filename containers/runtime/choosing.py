"""The next token out of a graph's scores, one for each token of the vocabulary.

Python alone would take milliseconds for what ONNX Runtime does in a fraction of one: so two graphs of one or two nodes, written here by hand, find the
likeliest tokens and the sum of all. What is left for Python is a draw among a few dozen.
"""

from __future__ import annotations

import bisect
import ctypes
import math
import random
from collections.abc import Sequence

import ort
from choices import Choice
from model import Sampling
from tiny_graphs import log_sum_graph, top_graph

FEW = 1024
"""Candidates looked at first where a request considers every token; the rest only if the draw falls among them."""


class Chooser:
    """Chooses for any request; what a request's own draws depend on is `random`, its own."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._top = ort.Session(top_graph(), threads=1)
        self._log_sum = ort.Session(log_sum_graph(), threads=1)

    def choose(self, scores: int, sampling: Sampling, draws: random.Random) -> Choice:
        """`scores`: address of as many floats as there are tokens."""
        token = self._draw(scores, sampling, draws) if sampling.temperature > 0 else self._best(scores, 1)[1][0]
        if sampling.logprobs is None:
            return Choice(token)
        return self.describe(scores, token, sampling.logprobs)

    def _draw(self, scores: int, sampling: Sampling, draws: random.Random) -> int:
        draw = draws.random()
        values, tokens = self._best(scores, min(sampling.top_k or FEW, self._vocabulary))
        weights = _weights(values, sampling.temperature)
        if sampling.top_k:
            return tokens[pick(weights, sum(weights), sampling.top_p, draw)]
        total = math.exp(self._sum(scores, 1 / sampling.temperature) - values[0] / sampling.temperature)
        if draw * sampling.top_p * total >= sum(weights):  # it falls among the many unlikely ones
            values, tokens = self._best(scores, self._vocabulary)
            weights = _weights(values, sampling.temperature)
        return tokens[pick(weights, total, sampling.top_p, draw)]

    def describe(self, scores: int, token: int, count: int) -> Choice:
        """The token with its logarithm of likelihood, and the `count` likeliest with theirs."""
        log_sum = self._sum(scores, 1.0)
        own = ctypes.c_float.from_address(scores + 4 * token).value - log_sum
        if not count:
            return Choice(token, own)
        values, tokens = self._best(scores, min(count, self._vocabulary))
        return Choice(token, own, tuple((other, value - log_sum) for other, value in zip(tokens, values, strict=True)))

    def _best(self, scores: int, count: int) -> tuple[Sequence[float], Sequence[int]]:
        values, tokens, wanted = (ctypes.c_float * count)(), (ctypes.c_int64 * count)(), ctypes.c_int64(count)
        self._top.run(
            {"scores": self._tensor(scores), "count": ort.Tensor(ctypes.addressof(wanted), [1], ort.INT64)},
            {
                "values": ort.Tensor(ctypes.addressof(values), [1, count], ort.FLOAT),
                "tokens": ort.Tensor(ctypes.addressof(tokens), [1, count], ort.INT64),
            },
        )
        return values[:], tokens[:]

    def _sum(self, scores: int, factor: float) -> float:
        """Logarithm of the sum of the exponentials of all scores, each times `factor`."""
        times, found = ctypes.c_float(factor), ctypes.c_float()
        self._log_sum.run(
            {"scores": self._tensor(scores), "factor": ort.Tensor(ctypes.addressof(times), [1], ort.FLOAT)},
            {"sum": ort.Tensor(ctypes.addressof(found), [1, 1], ort.FLOAT)},
        )
        return found.value

    def _tensor(self, scores: int) -> ort.Tensor:
        return ort.Tensor(scores, [1, self._vocabulary], ort.FLOAT)


def _weights(values: Sequence[float], temperature: float) -> list[float]:
    return [math.exp((value - values[0]) / temperature) for value in values]


def pick(weights: Sequence[float], total: float, top_p: float, draw: float) -> int:
    """Which of the weights, largest first, a draw from 0 to 1 falls on.

    Only the first that make up `top_p` of the total take part, and the one with which they reach it.
    """
    reached, sums = 0.0, []
    for weight in weights:
        reached += weight
        sums.append(reached)
        if reached >= top_p * total:
            break
    return min(bisect.bisect_right(sums, draw * max(reached, top_p * total)), len(sums) - 1)
