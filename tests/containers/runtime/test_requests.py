"""What clients may ask of the runtime server, and how it refuses the rest: with the field's name, and never with a 500."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from tests.containers.runtime.conftest import Served, chat, events, until

Start = Callable[..., Served]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def served(start_for_module: Start) -> Served:
    """One server for every request here: none of them may harm the next."""
    served = start_for_module()
    until(served.is_ready)
    return served


def post(served: Served, path: str, body: bytes | dict) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return served.client().post(path, content=content, headers={"content-type": "application/json"})


def said(*content: object, **more: object) -> dict:
    return {"messages": [{"role": "user", "content": each} for each in content], **more}


WRONG_CHATS = {
    "no JSON": (b"{", ""),
    "nothing": (b"", ""),
    "no object": (b"[]", ""),
    "deep": (b"[" * 100_000, ""),
    "deep in a field": (b'{"metadata":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, ""),
    "not UTF-8": (b'{"messages":[{"role":"user","content":"\xff\xfe"}]}', ""),
    "UTF-16": (json.dumps(said("hi")).encode("utf-16"), ""),
    "a key twice": (b'{"messages":[{"role":"user","content":"hi"}],"stream":true,"stream":false}', ""),
    "an endless number": (b'{"messages":[{"role":"user","content":"hi"}],"seed":' + b"9" * 10_000 + b"}", ""),
    "no messages": ({}, "messages"),
    "messages that are no list": ({"messages": "hi"}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "a message that is no object": ({"messages": ["hi"]}, "messages[0]"),
    "an unknown role": ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
    "a tool's role": ({"messages": [{"role": "tool", "content": "hi", "tool_call_id": "1"}]}, "messages[0].role"),
    "a role that is no word": ({"messages": [{"role": ["user"], "content": "hi"}]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "no parts": (said([]), "messages[0].content"),
    "an image": (said([{"type": "image_url", "image_url": {"url": "x"}}]), "messages[0].content"),
    "half a character": (b'{"messages":[{"role":"user","content":"\\ud83d"}]}', "messages[0].content"),
    "half a character as the model": (b'{"messages":[{"role":"user","content":"hi"}],"stop":"\\ud83d"}', "stop"),
    "a NUL": (said("a\0b"), "messages[0].content"),
    "a template's refusal": ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
    "a call of a tool": ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]}, "tool_calls"),
    "negative max_tokens": (said("hi", max_tokens=-1), "max_tokens"),
    "zero max_tokens": (said("hi", max_tokens=0), "max_tokens"),
    "fractional max_tokens": (said("hi", max_tokens=1.5), "max_tokens"),
    "true as a number": (said("hi", max_tokens=True), "max_tokens"),
    "negative max_completion_tokens": (said("hi", max_completion_tokens=-1), "max_completion_tokens"),
    "infinite max_tokens": (b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":1e999}', "max_tokens"),
    "NaN": (b'{"messages":[{"role":"user","content":"hi"}],"temperature":NaN}', ""),
    "minus infinity": (b'{"messages":[{"role":"user","content":"hi"}],"temperature":-Infinity}', ""),
    "infinity by size": (b'{"messages":[{"role":"user","content":"hi"}],"temperature":1e999}', "temperature"),
    "hot": (said("hi", temperature=2.1), "temperature"),
    "colder than cold": (said("hi", temperature=-0.1), "temperature"),
    "top_p": (said("hi", top_p="most"), "top_p"),
    "top_k": (said("hi", top_k=-1), "top_k"),
    "seed": (said("hi", seed=2**64), "seed"),
    "a seed of words": (said("hi", seed="lucky"), "seed"),
    "stop": (said("hi", stop=["a", ""]), "stop"),
    "five stops": (said("hi", stop=["a", "b", "c", "d", "e"]), "stop"),
    "a stop as long as a book": (said("hi", stop="a" * 1001), "stop"),
    "a stop of numbers": (said("hi", stop=[1]), "stop"),
    "a stop of nothing": (said("hi", stop=0), "stop"),
    "stream": (said("hi", stream="yes"), "stream"),
    "stream_options": (said("hi", stream_options=[]), "stream_options"),
    "include_usage": (said("hi", stream_options={"include_usage": "yes"}), "include_usage"),
    "model": (said("hi", model=7), "model"),
    "two answers": (said("hi", n=2), "n"),
    "no answers": (said("hi", n=0), "n"),
    "the best of two": (said("hi", best_of=2), "best_of"),
    "tools": (said("hi", tools=[{"type": "function"}]), "tools"),
    "a chosen tool": (said("hi", tool_choice="required"), "tool_choice"),
    "functions": (said("hi", functions=[{"name": "f"}]), "functions"),
    "JSON mode": (said("hi", response_format={"type": "json_object"}), "response_format"),
    "a schema": (said("hi", response_format={"type": "json_schema", "json_schema": {}}), "response_format"),
    "a grammar": (said("hi", guided_regex="a*"), "guided_regex"),
    "biased tokens": (said("hi", logit_bias={"1": 100}), "logit_bias"),
    "a penalty": (said("hi", frequency_penalty=0.5), "frequency_penalty"),
    "audio": (said("hi", modalities=["text", "audio"], audio={"voice": "x"}), "audio"),
    "top_logprobs alone": (said("hi", top_logprobs=2), "top_logprobs"),
    "too many top_logprobs": (said("hi", logprobs=True, top_logprobs=21), "top_logprobs"),
    "logprobs as a number": (said("hi", logprobs=3), "logprobs"),
}


@pytest.mark.parametrize(("body", "param"), WRONG_CHATS.values(), ids=WRONG_CHATS.keys())
def test_a_wrong_chat_is_a_400_that_names_the_field(served: Served, body: bytes | dict, param: str) -> None:
    assert_refused(post(served, CHAT, body), param)


WRONG_TEXTS = {
    "no prompt": ({}, "prompt"),
    "an empty prompt": ({"prompt": ""}, "prompt"),
    "an empty list": ({"prompt": []}, "prompt"),
    "two prompts": ({"prompt": ["a", "b"]}, "prompt"),
    "two lists of tokens": ({"prompt": [[1], [2]]}, "prompt"),
    "words and tokens": ({"prompt": ["a", 1]}, "prompt"),
    "half a token": ({"prompt": [1.5]}, "prompt"),
    "a negative token": ({"prompt": [-1]}, "prompt"),
    "a token that is no number": ({"prompt": [True]}, "prompt"),
    "an object": ({"prompt": {"text": "hi"}}, "prompt"),
    "a token past the vocabulary": ({"prompt": [1, 1000]}, "prompt"),
    "a token past every vocabulary": ({"prompt": [2**40]}, "prompt"),
    "half a character": (b'{"prompt":"\\udead"}', "prompt"),
    "echo": ({"prompt": "hi", "echo": True}, "echo"),
    "a suffix": ({"prompt": "hi", "suffix": "end"}, "suffix"),
    "the best of two": ({"prompt": "hi", "best_of": 2}, "best_of"),
    "six logprobs": ({"prompt": "hi", "logprobs": 6}, "logprobs"),
    "negative max_tokens": ({"prompt": "hi", "max_tokens": -5}, "max_tokens"),
}


@pytest.mark.parametrize(("body", "param"), WRONG_TEXTS.values(), ids=WRONG_TEXTS.keys())
def test_a_wrong_completion_is_a_400_that_names_the_field(served: Served, body: bytes | dict, param: str) -> None:
    assert_refused(post(served, TEXT, body), param)


def assert_refused(answer: httpx.Response, param: str) -> None:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error" and len(error["message"]) > 10 and error["code"]
    assert (error["param"] or "") == param


HARMLESS = {
    "who asks": {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "safety_identifier": "x"},
    "what no client of ours has heard of": {"a_field_of_tomorrow": [1, {"two": None}]},
    "tools that are none": {"tools": [], "tool_choice": "none", "functions": None, "parallel_tool_calls": True},
    "one answer of text": {"n": 1, "best_of": 1, "response_format": {"type": "text"}, "modalities": ["text"]},
    "no penalty": {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "repetition_penalty": 1.0},
    "nothing said": {"stop": None, "seed": None, "max_tokens": None, "temperature": None, "logprobs": None, "stream": None},
    "no stop": {"stop": ""},
    "whole numbers as JSON has them": {"max_tokens": 20.0, "seed": 7.0, "top_k": 5.0},
    "a seed of 64 bits": {"seed": -(2**63), "temperature": 1},
    "nearly no heat": {"temperature": 1e-300, "top_p": 0},
    "both limits": {"max_tokens": 1, "max_completion_tokens": 20},
}


@pytest.mark.parametrize("more", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_changes_no_answer_is_taken(served: Served, more: dict) -> None:
    answer = post(served, CHAT, said("say: fine", **more))
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "fine "


def test_an_earlier_answer_may_come_back_as_the_server_gave_it(served: Served) -> None:
    first = post(served, CHAT, said("say: one")).json()["choices"][0]["message"]
    messages = [
        {"role": "user", "content": "say: one"},
        first | {"tool_calls": None, "audio": None},
        {"role": "user", "content": "say: two"},
    ]
    assert post(served, CHAT, {"messages": messages}).json()["choices"][0]["message"]["content"] == "two "


def test_a_byte_order_mark_is_no_harm(served: Served) -> None:
    assert post(served, CHAT, b"\xef\xbb\xbf" + json.dumps(said("say: hi")).encode()).status_code == 200


@pytest.mark.parametrize("name", ["base:cooking", "gpt-4", "", "base:", "x" * 100_000, "\ud83d", "../../etc/passwd"])
def test_an_unknown_model_is_a_404_that_names_those_there(served: Served, name: str) -> None:
    for path, body in ((CHAT, said("hi", model=name)), (TEXT, {"prompt": "hi", "model": name})):
        answer = post(served, path, body)
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
        assert "base:museum, base:travel" in answer.json()["error"]["message"]
        assert len(answer.content) < 1000, "a client's own words are not sent back by the megabyte"


def test_one_model_can_be_looked_up(served: Served) -> None:
    card = served.client().get("/v1/models/base:travel").json()
    assert (card["id"], card["object"], card["parent"], card["max_model_len"]) == ("base:travel", "model", "base", 200)
    assert served.client().get("/v1/models/base%3Atravel").json() == card
    assert served.client().get("/v1/models/base:cooking").json()["error"]["code"] == "model_not_found"


def test_a_megabyte_is_refused_with_both_numbers(served: Served) -> None:
    for path, body in ((CHAT, said("word " * 200_000)), (TEXT, {"prompt": "word " * 200_000})):
        error = post(served, path, body).json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert "20000" in error["message"] and "may be 200" in error["message"]


def test_a_text_goes_on(served: Served) -> None:
    answer = post(served, TEXT, {"prompt": "say: hello there"}).json()
    assert answer["object"] == "text_completion" and answer["id"].startswith("cmpl-")
    assert answer["choices"] == [{"index": 0, "text": "hello there ", "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"]["prompt_tokens"] == 3


def test_a_text_goes_on_for_sixteen_tokens_unless_told(served: Served) -> None:
    choice = post(served, TEXT, {"prompt": "count"}).json()["choices"][0]
    assert (len(choice["text"].split()), choice["finish_reason"]) == (16, "length")


@pytest.mark.parametrize("prompt", [["say: yes"], "say: yes"])
def test_one_prompt_may_come_in_a_list(served: Served, prompt: object) -> None:
    assert post(served, TEXT, {"prompt": prompt}).json()["choices"][0]["text"] == "yes "


@pytest.mark.parametrize("as_lists", [False, True])
def test_a_prompt_may_be_tokens(served: Served, as_lists: bool) -> None:
    served.ask("say: yes")  # the stand-in numbers words as it meets them
    counted = post(served, TEXT, {"prompt": [0, 0, 0] if not as_lists else [[0, 0, 0]], "max_tokens": 2}).json()
    assert counted["usage"]["prompt_tokens"] == 3
    assert counted["choices"][0]["text"] == "1 2 "


def test_a_text_streams_to_its_end(served: Served) -> None:
    chunks = list(events(post(served, TEXT, {"prompt": "say: a b", "stream": True, "stream_options": {"include_usage": True}})))
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert [choice["text"] for chunk in chunks for choice in chunk["choices"]] == ["a ", "b ", ""]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 6


def test_usage_tells_what_was_not_taken_in_again(served: Served) -> None:
    assert served.ask("say: hi").json()["usage"]["prompt_tokens_details"]["cached_tokens"] >= 0


def test_other_refusals_have_openais_shape_too(served: Served) -> None:
    client = served.client()
    answers = {
        404: client.get("/v1/embeddings"),
        405: client.get("/v1/chat/completions"),
        415: client.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}),
        413: client.post("/v1/chat/completions", json=chat("x" * 5_000_000)),
    }
    assert {status: answer.status_code for status, answer in answers.items()} == {status: status for status in answers}
    assert all(answer.json()["error"]["message"] for answer in answers.values())
