"""Key-value caches that outlive their generation, so that the next turn of a chat takes in only what is new.

A cache serves another prompt as far as the prompt begins with the very tokens that it holds, taken in with the same adapter: nothing but identical
tokens is ever shared. That a prompt starts faster tells its sender that somebody sent the beginning before; who minds turns reuse off.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from model import Sampling

LEAST_NEW = 2
"""Tokens of a prompt that are taken in even where all of it is held: the last one's scores are wanted, and a token by itself is computed with
another rounding than one of many."""

_clock = count(1)


@dataclass(eq=False)
class Lane:
    """A place for one generation: its cache, and how its next token is chosen."""

    row: int = 0
    adapter: str = ""
    held: list[int] = field(default_factory=list)
    """Tokens in the cache."""
    steady: int = 0
    """So many of them, from the first, were taken in together with others: as any prompt is, whoever asks."""
    reserved: int = 0
    """Tokens that it may come to hold; 0 while it is idle."""
    used_at: int = 0
    pending: int = -1
    """Chosen and not taken in yet."""
    sampling: Sampling = Sampling(max_tokens=1)
    draws: random.Random = field(default_factory=random.Random)

    @property
    def is_busy(self) -> bool:
        return self.reserved > 0

    def begin(self, adapter: str, kept: int, reserved: int, sampling: Sampling) -> None:
        del self.held[kept:]
        self.steady = min(self.steady, kept)
        self.adapter, self.reserved, self.sampling, self.pending = adapter, reserved, sampling, -1
        self.draws = random.Random(sampling.seed)

    def hold(self, tokens: Sequence[int], *, is_alone: bool) -> None:
        """Tokens were taken in; one `is_alone` where it was all that was computed."""
        if not is_alone and self.steady == len(self.held):
            self.steady += len(tokens)
        self.held += tokens

    def serves(self, adapter: str, prompt: Sequence[int], *, only_steady: bool) -> int:
        """How much of a prompt is held."""
        if self.adapter != adapter:
            return 0
        return min(common(self.held, prompt), self.steady if only_steady else len(self.held))

    def end(self) -> None:
        self.reserved, self.used_at = 0, next(_clock)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def best_lane(lanes: Iterable[Lane], adapter: str, prompt: Sequence[int], *, only_steady: bool) -> tuple[Lane | None, int]:
    """The idle lane to take for a prompt, and how much of it it holds already.

    Where none holds anything of use, an empty one; else the one that was not used for longest.
    """
    usable = {lane: lane.serves(adapter, prompt, only_steady=only_steady) for lane in lanes if not lane.is_busy}
    if not usable:
        return None, 0
    best = max(usable, key=lambda lane: (usable[lane], not lane.held, -lane.used_at))
    return best, max(0, min(usable[best], len(prompt) - LEAST_NEW))
