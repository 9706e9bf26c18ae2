"""One generation at a time: who comes first is served first, and who hangs up loses the turn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_request import ApiError, ChatRequest
from model import Model, ModelError, Piece, Sampling, TemplateError

MAX_WAITING = 16
"""Requests that may wait for the one being served; more are told to come again."""


@dataclass
class Timing:
    """The clock of one generation. It starts when the turn does: waiting for others is counted apart."""

    asked_at: float
    started_at: float = 0.0
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    tokens: int = 0

    def saw(self, piece: Piece) -> None:
        if piece.tokens == 0:
            return
        self.last_token_at = time.perf_counter()
        if self.first_token_at == 0:
            self.first_token_at = self.last_token_at
        self.tokens = piece.tokens

    def as_dict(self) -> dict[str, float]:
        """What a client may know of the generation, and what the server holds in memory at its end."""
        decoding = self.last_token_at - self.first_token_at
        return {
            "queued_ms": round(1000 * (self.started_at - self.asked_at), 2),
            "first_token_ms": round(1000 * (self.first_token_at - self.started_at), 2),
            "tokens_per_second": round((self.tokens - 1) / decoding, 2) if decoding > 0 else 0.0,
            "memory_bytes": _resident_bytes(),
        }


def _resident_bytes() -> int:
    """Memory of this process that is in RAM now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class Turns:
    """The model, its one thread, and the queue before it."""

    def __init__(self, load: Callable[[], Model]):
        self._load = load
        self._model: Model | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._leaving = False
        # Each step of a generation is one call in this thread. So a hang-up is seen between two tokens, and no two
        # generations ever touch the model at once, even when one is abandoned in mid-step.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    @property
    def model(self) -> Model:
        if self._model is None:
            raise ApiError(503, "The model is still being loaded. Ask /ready, and come again.", code="model_loading")
        return self._model

    @property
    def is_ready(self) -> bool:
        return self._model is not None

    async def load(self) -> None:
        """Load and warm up; ready only after both."""
        model = await self._run(self._load)
        await self._run(model.warm_up)
        self._model = model

    def leave(self) -> None:
        """Who waits now is sent away; who is being served may finish."""
        self._leaving = True

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def prompt(self, request: ChatRequest) -> list[int]:
        """The request's conversation as tokens, refused where it leaves no room for an answer."""
        try:
            tokens = await asyncio.to_thread(self.model.encode, request.messages)
        except TemplateError as exc:
            message = f"The model's chat template refuses these messages: {exc}"
            raise ApiError(400, message, param="messages", code="invalid_value") from exc
        longest = self.model.max_length
        if len(tokens) >= longest:
            message = f"The prompt is {len(tokens)} tokens long, and prompt and answer together may be {longest}. Shorten the messages."
            raise ApiError(400, message, param="messages", code="context_length_exceeded")
        return tokens

    async def pieces(self, request: ChatRequest, prompt: Sequence[int], timing: Timing) -> AsyncIterator[Piece]:
        """The answer as it comes. Cancelling the caller ends the generation at the next token."""
        async with self._my_turn():
            timing.started_at = time.perf_counter()
            steps = self.model.stream(prompt, request.adapter, _sampling(request, self.model.max_length - len(prompt)))
            try:
                while (piece := await self._run(next, steps, None)) is not None:
                    timing.saw(piece)
                    yield piece
            except (RuntimeError, ModelError) as exc:  # what the library raises, out of memory included; a graph that does not load
                print(f"generation failed: {exc}", file=sys.stderr, flush=True)
                raise ApiError(500, f"The model failed: {exc}", code="generation_failed") from exc
            finally:
                self._end(steps)

    def _end(self, steps: Generator[Piece, None, None]) -> None:
        """Free a generation. Not awaited: the thread takes it up before anything of the next turn."""
        with contextlib.suppress(RuntimeError):  # the server stops, and its memory goes with it
            self._thread.submit(steps.close)

    @contextlib.asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise ApiError(429, f"{self._waiting} requests are waiting already. Come again.", code="queue_full")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            if self._leaving:
                raise ApiError(503, "The server is stopping.", code="stopping")
            yield
        finally:
            self._turn.release()

    async def _run(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


def _sampling(request: ChatRequest, room: int) -> Sampling:
    return Sampling(
        max_tokens=min(request.max_tokens or room, room),
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        stop=request.stop,
    )
