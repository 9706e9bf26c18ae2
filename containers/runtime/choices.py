"""What an engine brings for each token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lanes import Lane
from model import Sampling


@dataclass(frozen=True)
class Choice:
    """A token, and how likely it and the likeliest were: natural logarithms, before temperature."""

    token: int
    logprob: float | None = None
    """None: nobody asked."""
    top: tuple[tuple[int, float], ...] = ()


class Engine(Protocol):
    """A graph that generates in several lanes. For one thread."""

    chunk: int
    """Prompt tokens to take in at once."""
    provider: str
    is_idle: bool
    """No lane is in use."""

    def take(self, prompt: Sequence[int], adapter: str, sampling: Sampling, *, reuse: bool) -> Lane | None:
        """A lane for a prompt, with what it holds of it kept; None while there is no room."""

    def leave(self, lane: Lane, *, keep: bool) -> None:
        """A lane is idle again; with `keep`, what it holds may serve another prompt."""

    def feed(self, lane: Lane, tokens: Sequence[int], *, is_last: bool) -> Choice | None:
        """Take in a part of the prompt; after the last one, the first token of the answer."""

    def advance(self, lanes: Sequence[Lane]) -> list[Choice | RuntimeError]:
        """The next token of each lane."""
