"""What the server needs of a model, apart from any library that runs one."""

from __future__ import annotations

from collections.abc import Generator, Sequence
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


@dataclass(frozen=True)
class Piece:
    """What one step of a generation brought."""

    text: str
    tokens: int
    """Tokens generated so far; 0 while the prompt is still being taken in."""
    finish: str | None = None
    """`stop` or `length` on the last piece."""


class Model(Protocol):
    """A loaded model with its adapters; `generate.LocalModel` is the real one."""

    adapters: tuple[str, ...]
    has_base: bool
    """It answers without an adapter too."""
    max_length: int
    """Prompt and answer together, in tokens."""

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]: ...

    def stream(self, prompt: Sequence[int], adapter: str, sampling: Sampling) -> Generator[Piece, None, None]: ...

    def warm_up(self) -> None: ...
