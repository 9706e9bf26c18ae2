"""Answers other than 200, in the shape that OpenAI's clients read."""

from __future__ import annotations

from typing import Any

LONGEST_ECHO = 200
"""Characters of a client's own words that a message repeats."""


class ApiError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        return {"error": {"message": _sound(str(self)), "type": self._kind, "param": self.param and _sound(self.param), "code": self.code}}

    @property
    def _kind(self) -> str:
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"


def wrong(param: str, message: str) -> ApiError:
    """A field whose value cannot be taken."""
    return ApiError(400, message, param=param, code="invalid_value")


def echo(found: str) -> str:
    """A client's own words, short enough to be said back."""
    return found if len(found) <= LONGEST_ECHO else found[:LONGEST_ECHO] + "..."


def _sound(text: str) -> str:
    """Without half characters, which JSON can carry in but UTF-8 cannot carry out."""
    return text.encode("utf-8", "replace").decode()
