"""The HTTP face of a model: health, models, and chat completions as OpenAI's clients expect them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from chat_request import ApiError, ChatRequest, model_ids, parse
from model import Model, ModelError, Piece
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from turns import Timing, Turns

MAX_BODY_BYTES = 4 * 1024 * 1024

LoadFailed = Callable[[ModelError], None]


def make_app(load: Callable[[], Model], load_failed: LoadFailed) -> Starlette:
    """The server's app. `load` runs once the server answers; `load_failed` hears of a model that cannot be served."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.turns = Turns(load)
        loading = asyncio.create_task(_load(app.state.turns, load_failed))
        yield
        loading.cancel()
        app.state.turns.close()

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/v1/models", models),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _unforeseen},
        lifespan=lifespan,
    )


async def _load(turns: Turns, load_failed: LoadFailed) -> None:
    started = time.perf_counter()
    try:
        await turns.load()
    except ModelError as exc:
        load_failed(exc)
        return
    except Exception as exc:  # the edge: whatever the library raises, a server without a model must end, not idle
        load_failed(ModelError(f"The model could not be loaded: {type(exc).__name__}: {exc}"))
        return
    print(f"ready after {time.perf_counter() - started:.2f} s", file=sys.stderr, flush=True)


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    if request.app.state.turns.is_ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "loading"}, status_code=503, headers={"retry-after": "1"})


async def models(request: Request) -> Response:
    ids = _ids(request.app.state.turns.model)
    return JSONResponse({"object": "list", "data": [_model_card(model_id) for model_id in ids]})


def _ids(model: Model) -> list[str]:
    return model_ids(model.adapters, model.has_base)


def _model_card(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 0, "owned_by": "edge"}


async def chat(request: Request) -> Response:
    turns: Turns = request.app.state.turns
    asked_at = time.perf_counter()
    asked = parse(await _json_body(request), _ids(turns.model))
    prompt = await turns.prompt(asked)
    return Answer(turns, asked, prompt, Timing(asked_at))


async def _json_body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Also keeps a web page of another site, which may send only plain forms unasked, from using the model.
        raise ApiError(415, "Send the header 'Content-Type: application/json'.", code="unsupported_media_type")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", code="body_too_large")
    return bytes(body)


class Answer(Response):
    """An answer in the making, whole or as server-sent events. It ends when its client hangs up."""

    def __init__(self, turns: Turns, asked: ChatRequest, prompt: list[int], timing: Timing):
        self._turns = turns
        self._asked = asked
        self._prompt = prompt
        self._timing = timing
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

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

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        texts, finish = [], "stop"
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                texts.append(piece.text)
                finish = piece.finish or finish
        message = {"role": "assistant", "content": "".join(texts)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        body = self._envelope("chat.completion", [choice]) | self._usage()
        await JSONResponse(body)(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._pieces()) as pieces:
            # The first step runs before the status is sent, so that a full queue is a 429 and not a broken stream.
            first = await anext(pieces)
            await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
            try:
                await self._send_pieces(send, first, pieces)
            except ApiError as exc:
                await _send_event(send, exc.body())
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    async def _send_pieces(self, send: Send, first: Piece, others: AsyncIterator[Piece]) -> None:
        await self._send_delta(send, {"role": "assistant", "content": ""}, None)
        finish = await self._send_piece(send, first)
        async for piece in others:
            finish = await self._send_piece(send, piece) or finish
        if self._asked.usage_apart:
            await self._send_delta(send, {}, finish)
            await _send_event(send, self._envelope("chat.completion.chunk", []) | self._usage())
            return
        await self._send_delta(send, {}, finish, self._usage())

    async def _send_piece(self, send: Send, piece: Piece) -> str | None:
        if piece.text:
            await self._send_delta(send, {"content": piece.text}, None)
        return piece.finish

    async def _send_delta(self, send: Send, delta: dict[str, str], finish: str | None, extra: dict[str, Any] | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        await _send_event(send, self._envelope("chat.completion.chunk", [choice]) | (extra or {}))

    def _pieces(self) -> AsyncIterator[Piece]:
        return self._turns.pieces(self._asked, self._prompt, self._timing)

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._asked.model,
            "choices": choices,
        }

    def _usage(self) -> dict[str, Any]:
        prompt, completion = len(self._prompt), self._timing.tokens
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return {"usage": usage, "timings": self._timing.as_dict()}


_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def _send_event(send: Send, body: dict[str, Any]) -> None:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})


async def _until_hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _api_error(request: Request, exc: ApiError) -> Response:
    headers = {"retry-after": "1"} if exc.status in (429, 503) else None
    return JSONResponse(exc.body(), status_code=exc.status, headers=headers)


async def _http_error(request: Request, exc: HTTPException) -> Response:
    error = ApiError(exc.status_code, f"{exc.detail}: {request.method} {request.url.path}", code="not_served")
    return JSONResponse(error.body(), status_code=exc.status_code, headers=exc.headers)


async def _unforeseen(request: Request, exc: Exception) -> Response:
    error = ApiError(500, "The server failed on this request; its log says why.", code="internal_error")
    return JSONResponse(error.body(), status_code=500)
