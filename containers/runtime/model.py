"""What the server needs of a model, apart from any library that runs one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class ModelError(Exception):
    """The model folder or an adapter cannot be served; the message says what to do."""


class TemplateError(Exception):
    """The model's chat template refuses these messages."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen, and when to stop."""

    max_tokens: int
    temperature: float = 0.0
    """0 takes the most likely token each time."""
    top_p: float = 1.0
    top_k: int = 50
    """0 considers every token."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """So many alternatives of each token; None: no log probabilities."""


@dataclass(frozen=True)
class TokenLogprob:
    """A token of the answer, and how likely it and the likeliest others were."""

    token: str
    data: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """What one step of a generation brought."""

    text: str
    tokens: int
    """Tokens generated so far; 0 while the prompt is still being taken in."""
    finish: str | None = None
    """`stop` or `length` on the last piece."""
    logprobs: tuple[TokenLogprob, ...] = ()


class Generation(Protocol):
    """An answer in the making."""

    cached_tokens: int
    """Of the prompt; they need not be taken in again."""


class Model(Protocol):
    """A loaded model with its adapters; `generate.LocalModel` is the real one."""

    adapters: tuple[str, ...]
    has_base: bool
    """It answers without an adapter too."""
    max_length: int
    """Prompt and answer together, in tokens."""
    provider: str
    """What it really runs on: cpu or cuda."""
    vocabulary: int
    """Tokens there are, numbered from 0; 0 where the model folder does not say."""
    kv_bytes_per_token: int
    """Of the key-value cache; 0: unknown."""
    together: int
    """Answers that may be in the making at once."""

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]: ...

    def encode_text(self, text: str) -> list[int]: ...

    def start(self, prompt: Sequence[int], adapter: str, sampling: Sampling) -> Generation | None:
        """Begin an answer; None while there is no room for it beside those that run."""

    def step(self, generations: Sequence[Generation]) -> list[Piece | RuntimeError | None]:
        """Bring each answer on by a token; None where it was not its turn."""

    def end(self, generation: Generation) -> None:
        """An answer is complete, or nobody wants the rest."""

    def warm_up(self) -> None: ...
