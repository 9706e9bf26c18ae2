"""What is noted of one request while it is served: for the log, for the metrics, never the client's words unless asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.types import Scope
from timing import Timing

PLACE = "edge.record"
CLIENT_GONE = 499
"""Status of a request whose client did not wait for the end; no client ever sees it."""


@dataclass
class Record:
    """One request."""

    method: str
    path: str
    client: str
    began_at: float = field(default_factory=time.perf_counter)
    status: int = 0
    error: str = ""
    """Code of the error that it was answered with, be it in the middle of a stream."""
    model: str = ""
    prompt_tokens: int = 0
    timing: Timing | None = None
    """Of the answer; None where there is none."""
    prompt: object = None
    """Noted only for a log that was asked to hold it."""
    answer: str = ""

    @property
    def tokens(self) -> int:
        return self.timing.tokens if self.timing else 0


def record_of(scope: Scope) -> Record:
    return scope[PLACE]


def new_record(scope: Scope) -> Record:
    client = scope.get("client")
    record = Record(scope["method"], scope["path"], client[0] if client else "")
    scope[PLACE] = record
    return record
