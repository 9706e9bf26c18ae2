"""Two hundred requests from twenty clients, half of whom hang up midway."""

from __future__ import annotations

import asyncio
import random

import openai
import pytest

from tests.clients.live import Live, until

pytestmark = pytest.mark.model

CLIENTS, REQUESTS = 20, 200
MODELS = ("base", "base:travel", "base:persona")
COUNTRIES = ("France", "Italy", "Peru", "Japan", "Kenya", "Norway")
TOKENS = 8
SEED = 1
"""With a seed, an answer is the same whoever else asks; without, a batch may round otherwise than an answer made alone."""

GROWTH = 1.05


class Crowd:
    """Clients that ask known questions of every adapter, some of them impatient."""

    def __init__(self, server: Live) -> None:
        self.server = server
        self.client = server.async_client(max_retries=0)
        self.expected: dict[tuple[str, str], str] = {}
        self.told_to_wait = self.left = self.answered = 0

    async def learn(self) -> None:
        """What each question is answered with when nobody else asks."""
        for question in ((model, country) for model in MODELS for country in COUNTRIES):
            self.expected[question] = await self._answer(*question)

    async def storm(self, requests: int, seed: int) -> None:
        choice = random.Random(seed)
        todo = [(choice.choice(list(self.expected)), number % 2 == 0, choice.randrange(1, 6)) for number in range(requests)]
        await asyncio.gather(*(self._work(todo) for _ in range(CLIENTS)))

    async def _work(self, todo: list) -> None:
        while todo:
            question, is_leaving, after = todo.pop()
            await (self._leave(question, after) if is_leaving else self._hear_out(question))

    async def _hear_out(self, question: tuple[str, str]) -> None:
        assert await self._patiently(self._answer, *question) == self.expected[question], f"another's answer, to {question}"
        self.answered += 1

    async def _leave(self, question: tuple[str, str], after: int) -> None:
        """Hear some pieces, then hang up; what was heard is the right beginning."""
        stream = await self._patiently(self._streamed, *question)
        heard = ""
        async for chunk in stream:
            heard += chunk.choices[0].delta.content or ""
            after -= 1
            if not after:
                break
        await stream.close()
        assert self.expected[question].startswith(heard), f"another's answer, to {question}"
        self.left += 1

    async def _patiently(self, ask, *question: str):
        """Come again where the queue is full, when the server says so."""
        while True:
            try:
                return await ask(*question)
            except openai.RateLimitError as exc:
                self.told_to_wait += 1
                await asyncio.sleep(float(exc.response.headers["retry-after"]) * random.random())

    async def _answer(self, model: str, country: str) -> str:
        answer = await self.client.chat.completions.create(model=model, messages=_asked(country), max_tokens=TOKENS, seed=SEED)
        assert answer.model == model
        return answer.choices[0].message.content

    async def _streamed(self, model: str, country: str) -> openai.AsyncStream:
        return await self.client.chat.completions.create(model=model, messages=_asked(country), max_tokens=TOKENS, seed=SEED, stream=True)


def _asked(country: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is the capital of {country}?"}]


async def test_a_crowd_of_whom_half_hang_up_gets_its_own_answers_and_leaves_nothing_behind(server: Live) -> None:
    crowd = Crowd(server)
    await crowd.learn()
    assert len(set(crowd.expected.values())) > len(MODELS) * len(COUNTRIES) * 0.8, "else a mix-up would not be seen"
    await crowd.storm(REQUESTS // 2, seed=1)  # pools and caches have their size by then
    until(server.is_idle)
    memory, descriptors = server.memory, server.descriptors
    await crowd.storm(REQUESTS, seed=2)
    until(server.is_idle)
    assert (crowd.left, crowd.answered) == (REQUESTS * 3 // 4, REQUESTS * 3 // 4), "half of each storm"
    assert server.memory <= GROWTH * memory
    until(lambda: server.descriptors <= descriptors + 2)
    assert "Traceback" not in server.log
