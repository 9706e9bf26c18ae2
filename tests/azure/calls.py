"""A request that came to the lab, and what is said to it."""

from __future__ import annotations

import json
import time
import urllib.parse
from dataclasses import dataclass, field


@dataclass
class Call:
    """A request that came."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    """By name in small letters."""
    status: int = 0
    """0: it was cut."""
    body_bytes: int = 0
    at: float = field(default_factory=time.monotonic)
    sent: object = None
    """What its body says, where the front answers by itself: a form or JSON."""

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Answer:
    status: int
    value: object = None
    """Bytes as they are, anything else as JSON."""
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    """As Azure's services word it."""
    return Answer(status, {"error": {"code": code, "message": message}}, headers or {})


def read_body(kind: str, body: bytes) -> object:
    if "x-www-form-urlencoded" in kind:
        return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
    return json.loads(body) if body and "json" in kind else body
