"""The body of a request: JSON, not too large, sent in good time, and never more of them at once than there is room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from errors import ApiError
from starlette.requests import Request

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_BODIES_BYTES = 4 * MAX_BODY_BYTES
"""Of all requests that come in at the same time: a small device has no more memory to spare."""


class Bodies:
    """Takes bodies in."""

    def __init__(self, seconds: float):
        """`seconds`: the longest one may take to come."""
        self._seconds = seconds
        self._held = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes]:
        """The body, for as long as a block lasts.

        Raises:
            ApiError: 415, 413, 408 or 503.
        """
        _check_kind(request)
        body = bytearray()
        try:
            await self._fill(body, request)
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _fill(self, body: bytearray, request: Request) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    self._take(body, chunk)
        except TimeoutError:
            raise ApiError(408, f"The body was not there after {self._seconds:g} s.", code="request_too_slow") from None

    def _take(self, body: bytearray, chunk: bytes) -> None:
        if len(body) + len(chunk) > MAX_BODY_BYTES:
            raise ApiError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", code="body_too_large")
        if self._held + len(chunk) > MAX_BODIES_BYTES:
            raise ApiError(503, "Too many large requests are coming in at once. Come again.", code="too_many_bytes")
        self._held += len(chunk)
        body += chunk


def _check_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Also keeps a web page of another site, which may send only plain forms unasked, from using the model.
        raise ApiError(415, "Send the header 'Content-Type: application/json'.", code="unsupported_media_type")
