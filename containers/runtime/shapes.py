"""How an answer looks on the wire: OpenAI's chat completions and text completions, whole and in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from model import Piece, TokenLogprob

LEAST_LOGPROB = -9999.0
"""Stands for a probability of nothing, whose logarithm JSON cannot hold."""


class Shape(Protocol):
    """Makes the one choice of each message. Of one answer: it may remember what went before."""

    id_prefix: str
    whole_kind: str
    chunk_kind: str

    def whole(self, pieces: Sequence[Piece], finish: str) -> dict[str, Any]: ...

    def opening(self) -> dict[str, Any] | None:
        """What a stream says before its first word, if anything."""

    def part(self, piece: Piece) -> dict[str, Any]: ...

    def ending(self, finish: str) -> dict[str, Any]: ...


class ChatShape:
    """An assistant's message."""

    id_prefix = "chatcmpl-"
    whole_kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def whole(self, pieces: Sequence[Piece], finish: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": _text(pieces), "refusal": None}
        return {"index": 0, "message": message, "logprobs": _chat_logprobs(_logprobs(pieces)), "finish_reason": finish}

    def opening(self) -> dict[str, Any]:
        return self._delta({"role": "assistant", "content": ""})

    def part(self, piece: Piece) -> dict[str, Any]:
        return self._delta({"content": piece.text}, logprobs=_chat_logprobs(piece.logprobs))

    def ending(self, finish: str) -> dict[str, Any]:
        return self._delta({}, finish)

    def _delta(self, delta: dict[str, str], finish: str | None = None, logprobs: dict | None = None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


class TextShape:
    """A text that goes on."""

    id_prefix = "cmpl-"
    whole_kind = "text_completion"
    chunk_kind = "text_completion"

    def __init__(self) -> None:
        self._offset = 0

    def whole(self, pieces: Sequence[Piece], finish: str) -> dict[str, Any]:
        return self._choice(_text(pieces), _logprobs(pieces), finish)

    def opening(self) -> None:
        return None

    def part(self, piece: Piece) -> dict[str, Any]:
        return self._choice(piece.text, piece.logprobs, None)

    def ending(self, finish: str) -> dict[str, Any]:
        return self._choice("", (), finish)

    def _choice(self, text: str, logprobs: Sequence[TokenLogprob], finish: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": self._lists(logprobs), "finish_reason": finish}

    def _lists(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not logprobs:
            return None
        offsets = []
        for each in logprobs:
            offsets.append(self._offset)
            self._offset += len(each.token)
        return {
            "tokens": [each.token for each in logprobs],
            "token_logprobs": [_finite(each.logprob) for each in logprobs],
            "top_logprobs": [{token: _finite(logprob) for token, _, logprob in each.top} for each in logprobs],
            "text_offset": offsets,
        }


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _logprobs(pieces: Sequence[Piece]) -> list[TokenLogprob]:
    return [each for piece in pieces for each in piece.logprobs]


def _chat_logprobs(found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not found:
        return None
    content = [
        _token(each.token, each.data, each.logprob) | {"top_logprobs": [_token(token, data, logprob) for token, data, logprob in each.top]}
        for each in found
    ]
    return {"content": content, "refusal": None}


def _token(token: str, data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": _finite(logprob), "bytes": list(data)}


def _finite(logprob: float) -> float:
    return max(logprob, LEAST_LOGPROB)
