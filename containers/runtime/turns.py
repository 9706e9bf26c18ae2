"""Who is served when: some answers at a time, a token of each in every round, and a queue before them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asked import Asked
from errors import ApiError
from model import Generation, Model, ModelError, Piece, Sampling, TemplateError
from timing import Timing

MAX_WAITING = 16
"""Requests that may wait for the one being served; more are told to come again."""

MAX_AHEAD = 64
"""Pieces made for a client that does not take them; then its answer rests, and holds nobody else."""


class Turn:
    """One request's place, from the queue to the last piece of its answer."""

    def __init__(self, prompt: Sequence[int], adapter: str, sampling: Sampling, timing: Timing) -> None:
        self.prompt, self.adapter, self.sampling, self.timing = prompt, adapter, sampling, timing
        self.generation: Generation | None = None
        self.ready: deque[Piece] = deque()
        self.failure: Exception | None = None
        self.is_over = False
        """Complete, failed, or nobody wants the rest."""
        self.changed = asyncio.Event()

    def begin(self, generation: Generation) -> None:
        self.generation = generation
        self.timing.started_at = time.perf_counter()
        self.timing.cached_tokens = generation.cached_tokens

    def bring(self, piece: Piece | None) -> None:
        if piece is None:
            return
        self.timing.saw(piece)
        self.ready.append(piece)
        self.is_over = self.is_over or piece.finish is not None
        self.changed.set()

    def fail(self, failure: Exception) -> None:
        self.failure, self.is_over = failure, True
        self.changed.set()


class Turns:
    """The model, its one thread, and the queue before it."""

    def __init__(self, load: Callable[[], Model], max_waiting: int = MAX_WAITING):
        self._load = load
        self._max_waiting = max_waiting
        self._model: Model | None = None
        self._queue: deque[Turn] = deque()
        self._served: list[Turn] = []
        self._news = asyncio.Event()
        self._rounds: asyncio.Task | None = None
        self._leaving = False
        # Every call of the model is made in this thread: no two touch it at once, even when an answer is abandoned in mid-step.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    @property
    def model(self) -> Model:
        if self._model is None:
            raise ApiError(503, "The model is still being loaded. Ask /ready, and come again.", code="model_loading")
        return self._model

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def running(self) -> int:
        return len(self._served)

    @property
    def is_ready(self) -> bool:
        return self._model is not None

    async def load(self) -> None:
        """Load and warm up; ready only after both."""
        model = await self._run(self._load)
        await self._run(model.warm_up)
        self._model = model
        self._rounds = asyncio.create_task(self._serve())

    def leave(self) -> None:
        """Who waits now is sent away; who is being served may finish."""
        self._leaving = True
        for turn in self._queue:
            turn.fail(_stopping())
        self._queue.clear()

    def close(self) -> None:
        if self._rounds:
            self._rounds.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def prompt(self, request: Asked) -> list[int]:
        """The request's conversation as tokens, refused where it leaves no room for an answer."""
        try:
            tokens = await asyncio.to_thread(self._tokens, request)
        except TemplateError as exc:
            message = f"The model's chat template refuses these messages: {exc}"
            raise ApiError(400, message, param="messages", code="invalid_value") from exc
        longest = self.model.max_length
        if len(tokens) >= longest:
            message = f"The prompt is {len(tokens)} tokens long, and prompt and answer together may be {longest}. Shorten it."
            raise ApiError(400, message, param="messages" if request.messages else "prompt", code="context_length_exceeded")
        return tokens

    def _tokens(self, request: Asked) -> list[int]:
        if request.prompt_ids:
            return list(request.prompt_ids)
        return self.model.encode(request.messages) if request.messages else self.model.encode_text(request.prompt)

    async def pieces(self, request: Asked, prompt: Sequence[int], timing: Timing) -> AsyncIterator[Piece]:
        """The answer as it comes. Cancelling the caller ends the generation at the next token."""
        turn = Turn(prompt, request.adapter, _sampling(request, self.model.max_length - len(prompt)), timing)
        self._enter(turn)
        try:
            while True:
                while turn.ready:
                    yield turn.ready.popleft()
                    self._news.set()
                if turn.failure:
                    raise turn.failure
                if turn.is_over:
                    return
                turn.changed.clear()
                await turn.changed.wait()
        finally:
            self._leave(turn)

    def _enter(self, turn: Turn) -> None:
        if self._leaving:
            raise _stopping()
        free = max(0, self.model.together - len(self._served))  # who finds a place is let in at once, and waits for nobody
        if len(self._queue) >= self._max_waiting + free:
            raise ApiError(429, f"{len(self._queue)} requests are waiting already. Come again.", code="queue_full")
        self._queue.append(turn)
        self._news.set()

    def _leave(self, turn: Turn) -> None:
        turn.is_over = True
        with contextlib.suppress(ValueError):  # it was let in already
            self._queue.remove(turn)
        self._news.set()

    async def _serve(self) -> None:
        """Round after round, as long as the server runs."""
        while True:
            self._news.clear()
            try:
                await self._end_those_over()
                await self._let_in()
                turns = [turn for turn in self._served if not turn.is_over and len(turn.ready) < MAX_AHEAD]
                if turns:
                    await self._round(turns)
                elif not any(turn.is_over for turn in self._served):
                    await self._news.wait()
            except Exception as exc:  # the edge: a mistake of ours must not leave everybody waiting
                for turn in (*self._served, *self._queue):
                    turn.fail(_failed(exc))
                self._queue.clear()

    async def _round(self, turns: Sequence[Turn]) -> None:
        brought = await self._run(self.model.step, [turn.generation for turn in turns])
        for turn, piece in zip(turns, brought, strict=True):
            if isinstance(piece, Exception):
                turn.fail(_failed(piece))
            else:
                turn.bring(piece)

    async def _end_those_over(self) -> None:
        over = [turn for turn in self._served if turn.is_over]
        self._served = [turn for turn in self._served if not turn.is_over]
        for turn in over:
            await self._run(self.model.end, turn.generation)

    async def _let_in(self) -> None:
        """Who came first goes first: nobody is overtaken by one who needs less room."""
        while self._queue and len(self._served) < self.model.together:
            turn = self._queue[0]
            try:
                generation = await self._run(self.model.start, turn.prompt, turn.adapter, turn.sampling)
            except (RuntimeError, ModelError) as exc:  # what the library raises, out of memory included; a graph that does not load
                turn.fail(_failed(exc))
                self._forget(turn)
                continue
            if generation is None:
                return
            self._forget(turn)
            turn.begin(generation)
            self._served.append(turn)

    def _forget(self, turn: Turn) -> None:
        with contextlib.suppress(ValueError):  # it left meanwhile
            self._queue.remove(turn)

    async def _run(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


def _stopping() -> ApiError:
    return ApiError(503, "The server is stopping.", code="stopping")


def _failed(exc: Exception) -> ApiError:
    print(f"generation failed: {exc}", file=sys.stderr, flush=True)
    failure = ApiError(500, f"The model failed: {exc}", code="generation_failed")
    failure.__cause__ = exc
    return failure


def _sampling(request: Asked, room: int) -> Sampling:
    return Sampling(
        max_tokens=min(request.max_tokens or room, room),
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        stop=request.stop,
        logprobs=request.logprobs,
    )
