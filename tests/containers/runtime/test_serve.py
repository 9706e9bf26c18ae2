"""The runtime server as its clients see it."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.containers.runtime.conftest import Served, chat, events, until

Start = Callable[..., Served]


def tokens(answer: dict) -> tuple[int, int, int]:
    """Of the prompt, of the answer, and both."""
    usage = answer["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]


def test_answers_a_chat_in_openais_shape(served: Served) -> None:
    answer = served.ask("say: hello there").json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "hello there ", "refusal": None}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert tokens(answer) == (4, 3, 7)
    assert answer["timings"]["first_token_ms"] > 0


def test_streams_role_then_words_then_usage(served: Served) -> None:
    role, hello, there, last = events(served.ask("say: hello there", stream=True))
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"] for chunk in (hello, there)] == [{"content": "hello "}, {"content": "there "}]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["completion_tokens"] == 3
    assert set(last["timings"]) == {"queued_ms", "first_token_ms", "tokens_per_second", "memory_bytes"}


def test_an_answer_says_what_memory_the_server_holds(served: Served) -> None:
    resident = served.ask("say: hi").json()["timings"]["memory_bytes"]
    pages = int(Path(f"/proc/{served.process.pid}/statm").read_text().split()[1])
    assert resident == pytest.approx(pages * resource.getpagesize(), rel=0.2)


def test_sends_usage_apart_where_asked(served: Served) -> None:
    *_, finish, usage = events(served.ask("say: hi", stream=True, stream_options={"include_usage": True}))
    assert finish["choices"][0]["finish_reason"] == "stop" and finish["usage"] is None
    assert usage["choices"] == [] and usage["usage"]["prompt_tokens"] == 3


def test_sends_each_word_when_it_is_there(start: Start) -> None:
    served = start(STUB_DELAY="0.2")
    until(served.is_ready)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True)) as response:
        first = next(line for line in response.iter_lines() if '"content":"1 "' in line)
        assert first and served.running == 1  # the rest, near 200 words, is still being made


def test_every_turn_brings_the_whole_conversation(served: Served) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "say: one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "say: two"}]},
    ]
    answer = served.client().post("/v1/chat/completions", json={"messages": messages}).json()
    assert answer["choices"][0]["message"]["content"] == "two "
    assert answer["usage"]["prompt_tokens"] == 11  # four roles and seven words


def test_an_adapter_is_named_in_the_model(served: Served) -> None:
    assert [model["id"] for model in served.client().get("/v1/models").json()["data"]] == ["base", "base:museum", "base:travel"]
    answer = served.ask("say: hi", model="base:travel").json()
    assert answer["model"] == "base:travel"
    assert answer["choices"][0]["message"]["content"] == "travel hi "


def test_an_unknown_adapter_is_a_404_that_names_those_there(served: Served) -> None:
    answer = served.ask("say: hi", model="base:cooking")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert "base:museum, base:travel" in answer.json()["error"]["message"]


def test_a_prompt_without_room_is_a_400_that_says_both_numbers(served: Served) -> None:
    answer = served.ask("word " * 199)
    assert answer.status_code == 400
    assert "200 tokens" in answer.json()["error"]["message"] and "may be 200" in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_a_prompt_just_short_enough_is_answered_with_the_room_left(served: Served) -> None:
    answer = served.ask("word " * 196).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert tokens(answer) == (197, 3, 200)


def test_stops_where_the_request_says(served: Served) -> None:
    by_length = served.ask("count", max_tokens=3).json()["choices"][0]
    assert (by_length["message"]["content"], by_length["finish_reason"]) == ("1 2 3 ", "length")
    by_text = served.ask("count", stop=["3 4", "never"]).json()["choices"][0]
    assert (by_text["message"]["content"], by_text["finish_reason"]) == ("1 2 ", "stop")


def test_text_held_back_for_a_stop_that_never_comes_is_not_lost(served: Served) -> None:
    assert served.ask("say: a b", stop="b c").json()["choices"][0]["message"]["content"] == "a b "


def test_sampling_options_reach_the_library(start: Start) -> None:
    served = start(STUB_DELAY="0.05")
    until(served.is_ready)
    asked = chat("count", stream=True, temperature=0.5, top_p=0.8, top_k=7, seed=11, max_tokens=90)
    with served.client().stream("POST", "/v1/chat/completions", json=asked):
        (alive,) = (served.folder / "alive").iterdir()
        options = json.loads(alive.read_text())
    assert options == {"max_length": 200, "do_sample": True, "temperature": 0.5, "top_p": 0.8, "top_k": 7, "random_seed": 11}


def test_top_k_never_goes_beyond_the_vocabulary(start: Start) -> None:
    served = start(STUB_DELAY="0.05")  # the library reads past the end of the scores there, and dies of it
    until(served.is_ready)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True, temperature=1, top_k=1_000_000)):
        (alive,) = (served.folder / "alive").iterdir()
        assert json.loads(alive.read_text())["top_k"] == 1000


@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_up_ends_the_generation_and_frees_the_model(start: Start, stream: bool) -> None:
    served = start(STUB_DELAY="0.05")
    until(served.is_ready)
    client = served.client()
    hanging_up = threading.Thread(target=_ask_and_leave, args=(client, stream))
    hanging_up.start()
    hanging_up.join()
    until(lambda: served.running == 0, seconds=2)  # the whole answer would take ten seconds
    assert served.ask("say: next").json()["choices"][0]["message"]["content"] == "next "


def _ask_and_leave(client: httpx.Client, stream: bool) -> None:
    impatient = httpx.Timeout(5, read=0.3)
    with (
        pytest.raises(httpx.ReadTimeout),
        client.stream("POST", "/v1/chat/completions", json=chat("count", stream=stream), timeout=impatient) as response,
    ):
        for _ in response.iter_lines():
            raise httpx.ReadTimeout("enough")


def test_where_one_answer_is_made_at_a_time_who_came_first_is_served_first(start: Start) -> None:
    served = start("--together", "1", STUB_DELAY="0.05")
    until(served.is_ready)
    answers = [None, None]
    asking = threading.Thread(target=lambda: answers.__setitem__(1, served.ask("say: second")))
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True, max_tokens=20)) as response:
        lines = response.iter_lines()
        next(lines)
        asking.start()
        assert served.running == 1
        assert served.client().get("/health").status_code == 200
        list(lines)
    asking.join()
    assert answers[1].json()["choices"][0]["message"]["content"] == "second "
    assert answers[1].json()["timings"]["queued_ms"] > 200


def test_a_full_queue_says_so(start: Start) -> None:
    served = start("--together", "1", STUB_DELAY="0.5")
    until(served.is_ready)
    statuses: list[int] = []
    impatient = [threading.Thread(target=lambda: _status(served, statuses)) for _ in range(20)]
    for thread in impatient:
        thread.start()
    until(lambda: statuses.count(429) == 3)  # 1 served, 16 waiting
    served.process.kill()
    for thread in impatient:
        thread.join()
    assert statuses.count(429) == 3


def _status(served: Served, statuses: list[int]) -> None:
    try:
        statuses.append(served.ask("count").status_code)
    except httpx.TransportError:
        statuses.append(0)


def test_a_model_that_fails_in_mid_answer_says_so_and_serves_on(served: Served) -> None:
    whole = served.ask("say: a crash")
    assert whole.status_code == 500 and "out of memory" in whole.json()["error"]["message"]
    *_, last = events(served.ask("say: a crash", stream=True))
    assert "out of memory" in last["error"]["message"]
    assert served.ask("say: still here").status_code == 200
