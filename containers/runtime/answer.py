"""An answer in the making, whole or as server-sent events. It ends when its client hangs up, or its time is over."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from asked import Asked
from errors import ApiError
from model import Piece
from record import Record
from shapes import Shape
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from timing import Timing
from turns import Turns

EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Answer(Response):
    """Asks the model once it is awaited."""

    def __init__(self, turns: Turns, asked: Asked, prompt: list[int], shape: Shape, record: Record, seconds: float):
        """`seconds`: the longest it may take, counted from when the request came; 0: as long as it takes."""
        self._turns = turns
        self._asked = asked
        self._prompt = prompt
        self._shape = shape
        self._record = record
        self._seconds = seconds
        self._timing = record.timing = Timing(record.began_at)
        self._envelope = {
            "id": f"{shape.id_prefix}{uuid.uuid4().hex}",
            "object": shape.chunk_kind if asked.stream else shape.whole_kind,
            "created": int(time.time()),
            "model": asked.model,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = asyncio.ensure_future(self._stream(send) if self._asked.stream else self._whole(scope, receive, send))
        hang_up = asyncio.ensure_future(_until_hang_up(receive))
        try:
            await asyncio.wait({answer, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hang_up.cancel()
            if not answer.done():
                answer.cancel()
        try:
            await answer
        except asyncio.CancelledError:
            if not hang_up.done() or hang_up.cancelled():
                raise
            self._record.error = "client_gone"

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces()) as steps:
            pieces = [piece async for piece in steps]
        finish = pieces[-1].finish if pieces else None
        body = self._message(self._shape.whole(pieces, finish or "stop")) | self._figures()
        await JSONResponse(body)(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._pieces()) as pieces:
            # The first step runs before the status is sent, so that a full queue is a 429 and not a broken stream.
            first = await anext(pieces)
            await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
            try:
                await self._send_pieces(send, first, pieces)
            except ApiError as exc:
                self._record.error = exc.code or ""
                await _send_event(send, exc.body())
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def _send_pieces(self, send: Send, first: Piece, others: AsyncIterator[Piece]) -> None:
        if opening := self._shape.opening():
            await _send_event(send, self._chunk(opening))
        finish = await self._send_piece(send, first)
        async for piece in others:
            finish = await self._send_piece(send, piece) or finish
        last = self._chunk(self._shape.ending(finish or "stop"))
        if not self._asked.usage_apart:
            await _send_event(send, last | self._figures())
            return
        await _send_event(send, last)
        await _send_event(send, self._chunk() | self._figures())

    async def _send_piece(self, send: Send, piece: Piece) -> str | None:
        if piece.text or piece.logprobs:
            await _send_event(send, self._chunk(self._shape.part(piece)))
        return piece.finish

    async def _pieces(self) -> AsyncIterator[Piece]:
        """The model's pieces, as long as there is time."""
        loop = asyncio.get_running_loop()
        until = loop.time() - (time.perf_counter() - self._record.began_at) + self._seconds if self._seconds else None
        async with aclosing(self._turns.pieces(self._asked, self._prompt, self._timing)) as pieces:
            while (piece := await self._next(pieces, until)) is not None:
                self._record.answer += piece.text if self._record.prompt else ""
                yield piece

    async def _next(self, pieces: AsyncIterator[Piece], until: float | None) -> Piece | None:
        try:
            async with asyncio.timeout_at(until):
                return await anext(pieces, None)
        except TimeoutError:
            message = (
                f"The answer was not whole after {self._seconds:g} s, the longest that a request may take here. "
                "Ask for fewer tokens, or raise EDGE_REQUEST_SECONDS."
            )
            raise ApiError(504, message, code="request_timeout") from None

    def _chunk(self, *choices: dict[str, Any]) -> dict[str, Any]:
        """A message of a stream; where usage comes apart, every other one says that it holds none."""
        return self._message(*choices) | ({"usage": None} if self._asked.usage_apart else {})

    def _message(self, *choices: dict[str, Any]) -> dict[str, Any]:
        return self._envelope | {"choices": list(choices)}

    def _figures(self) -> dict[str, Any]:
        prompt, completion = len(self._prompt), self._timing.tokens
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self._timing.cached_tokens},
        }
        return {"usage": usage, "timings": self._timing.as_dict()}


async def _send_event(send: Send, body: dict[str, Any]) -> None:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})


async def _until_hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
