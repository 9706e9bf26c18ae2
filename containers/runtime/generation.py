"""One answer in the making: from the engine's tokens to pieces of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from choices import Choice, Engine
from lanes import Lane
from model import Piece, Sampling, TokenLogprob
from stops import StopFilter


class Decoder(Protocol):
    """Turns tokens into text, one after the other."""

    def decode(self, token: int) -> str: ...


class Generation:
    """A prompt on its way in, then an answer on its way out."""

    def __init__(self, engine: Engine, lane: Lane, prompt: Sequence[int], text: Text, sampling: Sampling) -> None:
        self.engine, self.lane = engine, lane
        self.cached_tokens = len(lane.held)
        self.keeps = True
        """What the lane holds at the end may serve another prompt."""
        self.parts = 0
        """Of the prompt, taken in."""
        self._prompt, self._text, self._sampling = prompt, text, sampling
        self._decoder = text.stream()
        self._stops = StopFilter(sampling.stop)
        self._count = 0

    @property
    def is_prompting(self) -> bool:
        """Some of the prompt is still to be taken in."""
        return self._count == 0 and len(self.lane.held) < len(self._prompt)

    def feed(self) -> Piece:
        """Take in the next part of the prompt."""
        self.parts += 1
        start = len(self.lane.held)
        size = self.engine.chunk
        if start + size + 1 == len(self._prompt):
            size -= 1  # a last part of one token would be computed as the answer's are, with another rounding
        part = self._prompt[start : start + size]
        choice = self.engine.feed(self.lane, part, is_last=start + len(part) == len(self._prompt))
        return Piece("", 0) if choice is None else self.piece(choice)

    def piece(self, choice: Choice) -> Piece:
        """What a token adds to the answer."""
        self._count += 1
        if self._text.ends(choice.token):
            return Piece(self._stops.rest(), self._count, "stop")
        likely = self._logprobs(choice)
        text, is_stopped = self._stops.feed(self._decoder.decode(choice.token))
        if is_stopped:
            return Piece(text, self._count, "stop", likely)
        if self._count == self._sampling.max_tokens:
            return Piece(text + self._stops.rest(), self._count, "length", likely)
        return Piece(text, self._count, None, likely)

    def _logprobs(self, choice: Choice) -> tuple[TokenLogprob, ...]:
        if choice.logprob is None:
            return ()
        top = tuple((*self._text.token(token), logprob) for token, logprob in choice.top)
        return (TokenLogprob(*self._text.token(choice.token), choice.logprob, top),)


class Text(Protocol):
    """What a generation needs of the tokenizer."""

    def stream(self) -> Decoder: ...

    def ends(self, token: int) -> bool: ...

    def token(self, token: int) -> tuple[str, bytes]: ...
