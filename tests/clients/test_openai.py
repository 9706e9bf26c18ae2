"""The `openai` package against the real server, used as its documentation shows."""

from __future__ import annotations

import asyncio

import openai
import pytest

from tests.clients.live import Live, until

pytestmark = pytest.mark.model

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a very long story about a ship."}]
MODELS = ["base", "base:persona", "base:travel"]


def test_models_are_listed_and_each_can_be_looked_up(server: Live) -> None:
    client = server.client()
    assert sorted(model.id for model in client.models.list()) == MODELS
    assert client.models.retrieve("base:travel").id == "base:travel"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("base:cooking")


def test_a_chat_is_answered_and_counted(server: Live) -> None:
    answer = server.client().chat.completions.create(model="base", messages=CAPITAL, max_tokens=24)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == "base" and answer.id.startswith("chatcmpl-")


def test_a_stream_says_what_the_whole_answer_says(server: Live) -> None:
    client = server.client()
    asked = {"model": "base:travel", "messages": CAPITAL, "max_tokens": 24}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_conversation_goes_on(server: Live) -> None:
    client, messages = server.client(), list(CAPITAL)
    for question in ("And what river runs through it?", "Thank you."):
        answer = client.chat.completions.create(model="base", messages=messages, max_tokens=16)
        messages += [{"role": "assistant", "content": answer.choices[0].message.content}, {"role": "user", "content": question}]
    again = client.chat.completions.create(model="base", messages=messages, max_tokens=16)
    alone = client.chat.completions.create(model="base", messages=messages, max_tokens=16)
    assert again.choices[0].message.content == alone.choices[0].message.content != ""
    assert again.usage.prompt_tokens > 60


def test_a_seed_repeats_what_was_sampled(server: Live) -> None:
    client = server.client()

    def said(seed: int) -> str:
        options = {"temperature": 1.5, "top_p": 0.95, "max_tokens": 24, "seed": seed}
        return client.chat.completions.create(model="base", messages=STORY, **options).choices[0].message.content

    assert said(1) == said(1) != said(2)


def test_a_stop_ends_the_answer_before_itself(server: Live) -> None:
    client = server.client()
    whole = client.chat.completions.create(model="base", messages=CAPITAL, max_tokens=24).choices[0].message.content
    cut = client.chat.completions.create(model="base", messages=CAPITAL, max_tokens=24, stop=[" France"])
    assert cut.choices[0].message.content == whole.partition(" France")[0] and cut.choices[0].finish_reason == "stop"


def test_a_text_is_gone_on_with(server: Live) -> None:
    client = server.client()
    asked = {"model": "base", "prompt": "The capital of Italy is", "max_tokens": 4}
    whole = client.completions.create(**asked)
    assert "Rome" in whole.choices[0].text
    assert whole.object == "text_completion" and whole.usage.completion_tokens == 4
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)) == whole.choices[0].text


def test_log_probabilities_tell_of_every_token(server: Live) -> None:
    answer = server.client().chat.completions.create(model="base", messages=CAPITAL, max_tokens=8, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == answer.choices[0].message.content
    for token in tokens:
        found = [one.logprob for one in token.top_logprobs]
        assert len(found) == 3 and found == sorted(found, reverse=True)
        assert token.logprob == pytest.approx(found[0]) and found[0] <= 0, "the likeliest is taken"


@pytest.mark.parametrize(
    ("error", "asked", "says"),
    [
        (openai.NotFoundError, {"model": "gpt-4o"}, "base:travel"),
        (openai.BadRequestError, {"messages": []}, "messages"),
        (openai.BadRequestError, {"max_tokens": -1}, "max_tokens"),
        (openai.BadRequestError, {"temperature": 3}, "temperature"),
        (openai.BadRequestError, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools"),
        (openai.BadRequestError, {"messages": [{"role": "wizard", "content": "hi"}]}, "role"),
    ],
)
def test_a_wrong_request_is_the_error_that_it_is_with_openai(server: Live, error: type, asked: dict, says: str) -> None:
    with pytest.raises(error) as refused:
        server.client().chat.completions.create(**{"model": "base", "messages": CAPITAL, "max_tokens": 4} | asked)
    assert says in refused.value.body["message"]


def test_a_prompt_longer_than_the_context_says_both_numbers(server: Live) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        server.client().chat.completions.create(model="base", messages=[{"role": "user", "content": "word " * 3000}])
    assert refused.value.code == "context_length_exceeded"
    assert "2048" in refused.value.body["message"] and "30" in refused.value.body["message"]


def test_a_stream_that_is_left_frees_its_place(server: Live) -> None:
    until(server.is_idle)
    stream = server.client().chat.completions.create(model="base", messages=STORY, stream=True, temperature=1.0)
    next(stream)
    assert not server.is_idle()
    stream.close()
    until(server.is_idle, seconds=5)  # the whole story would take half a minute


async def test_many_at_once_get_what_each_would_get_alone(server: Live) -> None:
    client = server.async_client()
    questions = [("base", "France"), ("base:travel", "Italy"), ("base:persona", "Peru"), ("base", "Japan"), ("base:travel", "Kenya")]

    async def said(model: str, country: str) -> str:
        messages = [{"role": "user", "content": f"What is the capital of {country}?"}]
        return (await client.chat.completions.create(model=model, messages=messages, max_tokens=12)).choices[0].message.content

    alone = [await said(*question) for question in questions]
    together = await asyncio.gather(*(said(*question) for question in questions))
    assert together == alone and len(set(alone)) == len(questions)


def test_a_key_is_asked_for_where_one_is_set(start_stub) -> None:
    live = start_stub(EDGE_API_KEY="sesame-open-12345")
    hello = [{"role": "user", "content": "say: hello"}]
    with pytest.raises(openai.AuthenticationError):
        live.client(api_key="sesame").chat.completions.create(model="base", messages=hello)
    with pytest.raises(openai.AuthenticationError):
        live.client(api_key="sesame").models.list()
    answer = live.client(api_key="sesame-open-12345").chat.completions.create(model="base", messages=hello)
    assert answer.choices[0].message.content == "hello "
    assert "sesame" not in live.log


def test_a_full_queue_is_a_rate_limit_that_the_package_waits_for(start_stub) -> None:
    live = start_stub(STUB_DELAY="0.02")
    hello = [{"role": "user", "content": "say: one two three"}]

    async def all_at_once(retries: int) -> list:
        client = live.async_client(max_retries=retries)
        asked = (client.chat.completions.create(model="base", messages=hello) for _ in range(60))
        return await asyncio.gather(*asked, return_exceptions=True)

    refused = [answer for answer in asyncio.run(all_at_once(0)) if isinstance(answer, openai.RateLimitError)]
    assert refused and all(int(error.response.headers["retry-after"]) >= 1 for error in refused)
    answers = asyncio.run(all_at_once(30))
    assert {answer.choices[0].message.content for answer in answers} == {"one two three "}
