"""The HTTP face of a model: health, metrics, models, and completions as OpenAI's clients expect them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import chat_request
import completion_request
from access_log import AccessLog
from answer import Answer
from asked import Asked, find_model, model_ids
from body import Bodies
from errors import ApiError, wrong
from gate import Gate
from metrics import Metrics
from model import Model, ModelError
from options import Options
from prometheus import CONTENT_TYPE
from record import record_of
from shapes import ChatShape, Shape, TextShape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from turns import Turns

MOST_SECONDS_TO_COME_AGAIN = 30
SMALLEST_VOCABULARY = 256
"""Of a tokenizer that can say every byte."""

LoadFailed = Callable[[ModelError], None]


def make_app(options: Options, load: Callable[[], Model], load_failed: LoadFailed) -> Starlette:
    """The server's app. `load` runs once the server answers; `load_failed` hears of a model that cannot be served."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.turns = Turns(load, max_waiting=options.max_waiting)
        loading = asyncio.create_task(_load(app.state.turns, load_failed))
        yield
        loading.cancel()
        app.state.turns.close()

    metrics = Metrics(frozenset(route.path for route in ROUTES))
    log = AccessLog(options.access_log, options.log_prompts)
    gate = Middleware(Gate, api_key=options.api_key, hosts=options.allowed_hosts, metrics=metrics, log=log)
    app = Starlette(
        routes=ROUTES,
        middleware=[*_cors(options.cors_origins), gate],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_gone,
            Exception: _unforeseen,
        },
        lifespan=lifespan,
    )
    app.state.options, app.state.metrics, app.state.bodies = options, metrics, Bodies(options.receive_seconds)
    return app


def _cors(origins: tuple[str, ...]) -> list[Middleware]:
    """Nothing unless asked for: pages of other sites may not read this server's answers."""
    if not origins:
        return []
    return [
        Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["authorization", "content-type"])
    ]


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
    print(f"ready after {time.perf_counter() - started:.2f} s on {turns.model.provider}", file=sys.stderr, flush=True)


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    turns: Turns = request.app.state.turns
    if not turns.is_ready:
        return JSONResponse({"status": "loading"}, status_code=503, headers={"retry-after": "1"})
    model = turns.model
    about = {"provider": model.provider, "model": _ids(model)[0], "adapters": list(model.adapters), "max_length": model.max_length}
    return JSONResponse({"status": "ready"} | about)


async def metrics(request: Request) -> Response:
    state = request.app.state
    return Response(state.metrics.text(state.turns), headers={"content-type": CONTENT_TYPE})


async def models(request: Request) -> Response:
    model = request.app.state.turns.model
    return JSONResponse({"object": "list", "data": [_model_card(model_id, model) for model_id in _ids(model)]})


async def one_model(request: Request) -> Response:
    model = request.app.state.turns.model
    return JSONResponse(_model_card(find_model(request.path_params["id"], _ids(model)), model))


def _ids(model: Model) -> list[str]:
    return model_ids(model.adapters, model.has_base)


def _model_card(model_id: str, model: Model) -> dict[str, Any]:
    base, _, adapter = model_id.partition(":")
    parent = base if adapter and model.has_base else None
    return {"id": model_id, "object": "model", "created": 0, "owned_by": "edge", "parent": parent, "max_model_len": model.max_length}


async def chat(request: Request) -> Response:
    return await _answer(request, chat_request.parse, ChatShape())


async def completion(request: Request) -> Response:
    return await _answer(request, completion_request.parse, TextShape())


async def _answer(request: Request, parse: Callable[..., Asked], shape: Shape) -> Response:
    state, record = request.app.state, record_of(request.scope)
    turns: Turns = state.turns
    async with state.bodies.receive(request) as raw:
        asked = _for_model(parse(raw, _ids(turns.model)), turns.model)
        record.model = asked.model
        if state.options.log_prompts:
            record.prompt = asked.messages or asked.prompt or asked.prompt_ids
        prompt = await turns.prompt(asked)
    record.prompt_tokens = len(prompt)
    return Answer(turns, asked, prompt, shape, record, state.options.request_seconds)


def _for_model(asked: Asked, model: Model) -> Asked:
    """Within the model's vocabulary: the library reads past its end where an id or top_k lies beyond, and dies of it."""
    if model.vocabulary and max(asked.prompt_ids, default=0) >= model.vocabulary:
        raise wrong("prompt", f"Token {max(asked.prompt_ids)} is none of this model's, which are 0 to {model.vocabulary - 1}.")
    return replace(asked, top_k=min(asked.top_k, model.vocabulary or SMALLEST_VOCABULARY))


async def _api_error(request: Request, exc: ApiError) -> Response:
    record_of(request.scope).error = exc.code or ""
    return JSONResponse(exc.body(), status_code=exc.status, headers=_come_again(request, exc.status))


def _come_again(request: Request, status: int) -> dict[str, str] | None:
    """When to: a second later where the model loads, after a request's usual time where others wait."""
    if status not in (429, 503):
        return None
    usual = request.app.state.metrics.usual_seconds if status == 429 else 1
    return {"retry-after": str(max(1, min(round(usual), MOST_SECONDS_TO_COME_AGAIN)))}


async def _http_error(request: Request, exc: HTTPException) -> Response:
    record_of(request.scope).error = "not_served"
    error = ApiError(exc.status_code, f"{exc.detail}: {request.method} {request.url.path}", code="not_served")
    return JSONResponse(error.body(), status_code=exc.status_code, headers=exc.headers)


async def _client_gone(request: Request, exc: ClientDisconnect) -> Response:
    record_of(request.scope).error = "client_gone"
    return Response()  # nobody hears it


async def _unforeseen(request: Request, exc: Exception) -> Response:
    record_of(request.scope).error = "internal_error"
    error = ApiError(500, "The server failed on this request; its log says why.", code="internal_error")
    return JSONResponse(error.body(), status_code=500)


ROUTES = [
    Route("/health", health),
    Route("/ready", ready),
    Route("/metrics", metrics),
    Route("/v1/models", models),
    Route("/v1/models/{id:path}", one_model),
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/completions", completion, methods=["POST"]),
]
