"""A conversation with a served model: questions, answers token by token, and what each answer took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from toolkit.core.chatwire import Exchange, Refused, WireError
from toolkit.core.engine import Server
from toolkit.errors import ChatError, PromptTooLong

STOPPED = "stopped"
"""Reason of an answer that the person ended."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int | None = None

    def __str__(self) -> str:
        chosen = "greedy" if self.temperature == 0 else f"temperature {self.temperature:g}, top-p {self.top_p:g}"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{chosen}, at most {self.max_tokens} tokens{seed}"


@dataclass(frozen=True)
class Token:
    text: str


@dataclass(frozen=True)
class Finished:
    """The end of an answer, with what the server measured."""

    reason: str
    """stop: the model ended it; length: it was as long as allowed; stopped: by the person."""
    prompt_tokens: int
    tokens: int
    first_token_ms: float
    tokens_per_second: float
    queued_ms: float = 0.0
    """Waited for other answers of the same server before it began."""
    memory_bytes: int = 0
    """What the server held in memory at the end; 0: it does not say."""


@dataclass(frozen=True)
class Turn:
    """A question and its whole answer."""

    question: str
    answer: str
    adapter: str
    sampling: Sampling
    finished: Finished


@dataclass
class Conversation:
    """Turns so far, and the way to ask the next question. A failed turn leaves them as they were."""

    server: Server
    why: Callable[[str], ChatError] = lambda said: ChatError(f"The model's server went away: {said}", "Start it again.")
    """What to say of a server that broke off."""
    system: str = ""
    turns: list[Turn] = field(default_factory=list)
    _asking: Exchange | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        """As the model reads them."""
        said = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            said += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer}]
        return said

    def clear(self) -> None:
        self.turns = []

    def take_back(self) -> str:
        """Forget the last turn; returns its question, to ask again as it was or changed. Empty where there is none."""
        return self.turns.pop().question if self.turns else ""

    def models(self) -> list[str]:
        """`base`, and `base:NAME` for each adapter.

        Raises:
            ChatError: the server does not answer.
        """
        try:
            return [model["id"] for model in Exchange(self.server).get("/v1/models")["data"]]
        except (WireError, Refused) as exc:
            raise self.why(str(exc)) from exc

    def stop(self) -> None:
        """End the answer under way, from any thread and at once, be its first token there or not."""
        asking = self._asking
        if asking is not None:
            asking.cut()

    def ask(self, text: str, adapter: str = "", sampling: Sampling = Sampling()) -> Iterator[Token | Finished]:
        """The answer to `text`, as it comes; at last what it took. The turn is kept once it is whole.

        An answer that was stopped is kept as far as it came; one without a word is not.

        Raises:
            ChatError: unknown adapter, prompt too long, or the server died; the conversation is unchanged.
        """
        answer = _Answer()
        self._asking = exchange = Exchange(self.server)
        body = _body([*self.messages, {"role": "user", "content": text}], adapter, sampling)
        try:
            yield from answer.read(exchange.stream("/v1/chat/completions", body))
        except WireError as exc:
            if not exchange.is_cut:
                raise self.why(str(exc)) from exc
        except Refused as exc:
            raise _refusal(exc) from exc
        finally:
            self._asking = None
        if answer.finished is None and not exchange.is_cut:
            raise self.why("the answer broke off")
        finished = answer.finished or answer.as_far_as_it_came()
        if answer.text or not exchange.is_cut:
            self.turns.append(Turn(text, answer.text, adapter, sampling, finished))
        yield finished


@dataclass
class _Answer:
    """An answer in the making, out of the server's events."""

    text: str = ""
    finished: Finished | None = None
    _reason: str = ""
    _pieces: int = 0
    _asked_at: float = field(default_factory=time.monotonic)
    _first_at: float = 0.0

    def read(self, parts: Iterator[dict]) -> Iterator[Token]:
        texts = []
        try:
            for part in parts:
                if "error" in part:
                    raise ChatError(part["error"].get("message", "The model failed."), "Ask again, or start the model again.")
                for choice in part.get("choices", []):
                    self._reason = choice.get("finish_reason") or self._reason
                    if text := choice.get("delta", {}).get("content"):
                        texts.append(text)
                        self._saw_text()
                        yield Token(text)
                if part.get("usage"):
                    self.finished = _finished(self._reason, part)
        finally:
            self.text = "".join(texts)

    def _saw_text(self) -> None:
        self._first_at = self._first_at or time.monotonic()
        self._pieces += 1

    def as_far_as_it_came(self) -> Finished:
        """Measured here, since the server was not asked any more."""
        if not self._pieces:
            return Finished(STOPPED, 0, 0, 0.0, 0.0)
        decoding = time.monotonic() - self._first_at
        speed = (self._pieces - 1) / decoding if decoding > 0 else 0.0
        return Finished(STOPPED, 0, self._pieces, 1000 * (self._first_at - self._asked_at), speed)


def _body(messages: list[dict[str, str]], adapter: str, sampling: Sampling) -> dict:
    body = {
        "model": f"base:{adapter}" if adapter else "base",
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return body if sampling.seed is None else {**body, "seed": sampling.seed}


def _refusal(refused: Refused) -> ChatError:
    match refused.code:
        case "context_length_exceeded":
            return PromptTooLong(
                refused.message, "Ask less at once, or begin a new conversation; the recipe's export.context_length sets it."
            )
        case "model_not_found":
            return ChatError(refused.message, "Choose the base or one of its adapters.")
        case "model_loading" | "queue_full" | "stopping":
            return ChatError(refused.message, "Ask again in a moment.")
    return ChatError(refused.message)


def _finished(reason: str, part: dict) -> Finished:
    usage, timings = part["usage"], part.get("timings", {})
    return Finished(
        reason,
        usage["prompt_tokens"],
        usage["completion_tokens"],
        timings.get("first_token_ms", 0.0),
        timings.get("tokens_per_second", 0.0),
        timings.get("queued_ms", 0.0),
        timings.get("memory_bytes", 0),
    )
