"""Connections that do not wait forever: for a request that drips in, or for a client that does not read its answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import h11
from errors import ApiError
from uvicorn.protocols.http.h11_impl import H11Protocol

AFTER_THE_BODY = 2.0
"""Seconds given on top to the program's own limit on a body, which can say in words that it was too slow."""


@dataclass(frozen=True)
class Patience:
    """How much a connection may ask of the server."""

    seconds: float
    """For the head of a request, for its body, and for a client to go on reading."""
    connections: int
    """At the same time."""


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with an end to its patience, and with OpenAI's shape where it answers by itself."""

    def __init__(self, *args: Any, patience: Patience, **named: Any):
        super().__init__(*args, **named)
        self._patience = patience
        self._arriving: asyncio.TimerHandle | None = None
        self._phase: Any = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._patience.connections:
            message = f"{self._patience.connections} connections are open already. Come again."
            self._refuse(ApiError(503, message, code="too_many_connections"))
            return
        self._watch_arrival()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._arriving, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._patience.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, msg, code="invalid_http"))

    def _unsupported_upgrade_warning(self) -> None:
        """A client may offer another protocol; it goes on with this one."""

    def _watch_arrival(self) -> None:
        """Start the clock with the first byte of a request's head, and again with its body."""
        phase = self._awaited()
        if phase is self._phase:
            return
        self._phase = phase
        if self._arriving is not None:
            self._arriving.cancel()
        if phase is not None:
            more = AFTER_THE_BODY if phase is h11.SEND_BODY else 0
            self._arriving = self.loop.call_later(self._patience.seconds + more, self._lose_patience)

    def _awaited(self) -> Any:
        """The part of a request that is still to come; None between requests, where uvicorn has a clock of its own."""
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            return state
        is_first = self.cycle is None
        return state if state is h11.IDLE and (is_first or self.conn.trailing_data[0]) else None

    def _lose_patience(self) -> None:
        if self.conn.our_state is h11.IDLE:
            self._refuse(ApiError(408, f"The request was not there after {self._patience.seconds:g} s.", code="request_too_slow"))
        else:
            self.transport.abort()

    def _refuse(self, error: ApiError) -> None:
        """Say it and hang up; where an answer is under way, only hang up."""
        body = json.dumps(error.body()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        if error.status == 503:
            headers.append(("retry-after", "1"))
        try:
            said = [h11.Response(status_code=error.status, headers=headers), h11.Data(data=body), h11.EndOfMessage()]
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in said))
        except h11.LocalProtocolError:
            pass
        self.transport.close()
