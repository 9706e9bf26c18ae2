"""A conversation with a served model, token by token, over a Unix socket."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from toolkit.core.engine import ChatHost, Server
from toolkit.errors import ChatError

READY_SECONDS = 120.0


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int | None = None


@dataclass(frozen=True)
class Token:
    text: str


@dataclass(frozen=True)
class Finished:
    """The end of an answer, with what the server measured."""

    reason: str
    prompt_tokens: int
    tokens: int
    first_token_ms: float
    tokens_per_second: float


@contextmanager
def serving(host: ChatHost, target: str, memory_mb: int = 0, cpus: float = 0, port: int = 0) -> Iterator[Conversation]:
    """Serve `target` for as long as the block lasts; yields a conversation once it is ready.

    Raises:
        ChatError: it did not come up; carries its last words.
    """
    folder = Path(tempfile.mkdtemp(prefix="edge-"))  # short: a socket's path may have 107 characters
    os.chmod(folder, 0o700)
    try:
        server = host.serve(target, folder, memory_mb, cpus, port)
        try:
            conversation = Conversation(server, lambda: host.is_serving(server), lambda: host.last_words(server))
            conversation.wait_until_ready()
            yield conversation
        finally:
            host.end(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Conversation:
    """Messages so far, and the way to ask the next question. A failed turn leaves the messages as they were."""

    def __init__(self, server: Server, is_alive: Callable[[], bool] = lambda: True, last_words: Callable[[], str] = lambda: "") -> None:
        self.messages: list[dict[str, str]] = []
        self._is_alive = is_alive
        self._last_words = last_words
        transport = None if server.port else httpx.HTTPTransport(uds=str(server.socket))
        url = f"http://127.0.0.1:{server.port}" if server.port else "http://edge"
        # trust_env off: a proxy of the environment has no business on loopback
        self._client = httpx.Client(transport=transport, base_url=url, timeout=httpx.Timeout(600, connect=5), trust_env=False)

    @property
    def is_served(self) -> bool:
        return self._is_alive()

    @property
    def last_words(self) -> str:
        return self._last_words()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> float:
        """Wait for weights and warm-up; returns the seconds waited.

        Raises:
            ChatError: the server died or did not get ready in time.
        """
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            try:
                if self._client.get("/ready", timeout=5).status_code == 200:
                    return time.monotonic() - started
            except httpx.HTTPError:
                pass  # not listening yet
            if not self._is_alive():
                raise ChatError(
                    f"The model's server ended before it was ready: {self._last_words()}",
                    "Package the model again; `edge doctor` looks at the machine.",
                )
            time.sleep(0.05)
        raise ChatError(f"The model was not ready after {seconds:.0f} s: {self._last_words()}", "A larger device, or a smaller model.")

    def models(self) -> list[str]:
        """`base`, and `base:NAME` for each adapter."""
        return [model["id"] for model in self._get("/v1/models")["data"]]

    def _get(self, path: str) -> dict:
        try:
            return self._client.get(path).raise_for_status().json()
        except httpx.HTTPError as exc:
            raise ChatError(f"The model's server does not answer: {exc}. {self._last_words()}") from exc

    def ask(self, text: str, adapter: str = "", sampling: Sampling = Sampling()) -> Iterator[Token | Finished]:
        """The answer to `text`, as it comes; at last what it took. The turn is kept once it is whole.

        Raises:
            ChatError: unknown adapter, prompt too long, or the server died; the conversation is unchanged.
        """
        asked = [*self.messages, {"role": "user", "content": text}]
        answer = ""
        for piece in self._stream({"model": f"base:{adapter}" if adapter else "base", "messages": asked, **_wire(sampling)}):
            if isinstance(piece, Token):
                answer += piece.text
            yield piece
        self.messages = [*asked, {"role": "assistant", "content": answer}]

    def _stream(self, body: dict) -> Iterator[Token | Finished]:
        reason = ""
        finished = None
        try:
            with self._client.stream(
                "POST", "/v1/chat/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}
            ) as answer:
                if answer.status_code != 200:
                    raise ChatError(_message(answer.read()))
                for line in answer.iter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    part = json.loads(line[6:])
                    if "error" in part:
                        raise ChatError(part["error"].get("message", "the model failed"))
                    for choice in part.get("choices", []):
                        reason = choice.get("finish_reason") or reason
                        if text := choice.get("delta", {}).get("content"):
                            yield Token(text)
                    if part.get("usage"):
                        finished = _finished(reason, part)
        except httpx.HTTPError as exc:
            raise ChatError(
                f"The model's server went away in the middle of the answer: {self._last_words() or exc}",
                "Ask again; a memory limit may be too small for this conversation.",
            ) from exc
        if finished is None:
            raise ChatError(f"The answer broke off: {self._last_words()}", "Ask again.")
        yield finished


def _wire(sampling: Sampling) -> dict:
    body = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
    return body if sampling.seed is None else {**body, "seed": sampling.seed}


def _message(body: bytes) -> str:
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"The model's server answered: {body[:200].decode('utf-8', 'replace')}"


def _finished(reason: str, part: dict) -> Finished:
    usage, timings = part["usage"], part.get("timings", {})
    return Finished(
        reason,
        usage["prompt_tokens"],
        usage["completion_tokens"],
        timings.get("first_token_ms", 0.0),
        timings.get("tokens_per_second", 0.0),
    )
