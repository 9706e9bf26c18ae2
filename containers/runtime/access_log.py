"""One line of JSON a request, on standard error: what was asked of whom, how it went, and not a word of it."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from record import Record

WATCHED = ("/health", "/ready", "/metrics")
"""Asked every few seconds by machines; only what goes wrong there is worth a line."""
LONGEST_PATH = 200


class AccessLog:
    """Writes the lines."""

    def __init__(self, is_on: bool, with_prompts: bool):
        self._is_on = is_on
        self.with_prompts = with_prompts
        """Prompts and answers too: whoever runs the server asked for it."""

    def write(self, record: Record) -> None:
        if not self._is_on or (record.path in WATCHED and record.status in (200, 503)):
            return
        print(json.dumps(self._line(record), separators=(",", ":")), file=sys.stderr, flush=True)

    def _line(self, record: Record) -> dict[str, Any]:
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": record.client,
            "method": record.method,
            "path": record.path[:LONGEST_PATH],
            "status": record.status,
            "ms": round(1000 * (time.perf_counter() - record.began_at), 1),
        }
        if record.error:
            line["error"] = record.error
        if record.model:
            line |= {"model": record.model, "prompt_tokens": record.prompt_tokens}
        if record.timing:
            line |= {"cached_tokens": record.timing.cached_tokens, "tokens": record.tokens} | _times(record)
        if self.with_prompts and record.prompt:
            line |= {"prompt": record.prompt, "answer": record.answer}
        return line


def _times(record: Record) -> dict[str, float]:
    assert record.timing
    measured = record.timing.as_dict() if record.tokens else {}
    return {name: measured[name] for name in ("queued_ms", "first_token_ms", "tokens_per_second") if name in measured}
