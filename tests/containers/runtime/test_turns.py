"""Several answers at once, and chats that go on: who waits for whom, and what of a turn serves the next."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx

from tests.containers.runtime.conftest import Served, chat, until

Start = Callable[..., Served]
FIRST = [{"role": "user", "content": "say: one two three four"}]
SECOND = [*FIRST, {"role": "assistant", "content": "one two three four"}, {"role": "user", "content": "say: five"}]


def cached(answer: httpx.Response) -> int:
    return answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def turn(served: Served, messages: list[dict], **more: object) -> httpx.Response:
    return served.client().post("/v1/chat/completions", json={"model": "base", "messages": messages, **more})


def content(answer: httpx.Response) -> str:
    return answer.json()["choices"][0]["message"]["content"]


def test_the_next_turn_of_a_chat_takes_in_only_what_is_new(served: Served) -> None:
    assert cached(turn(served, FIRST)) == 0
    second = turn(served, SECOND)
    assert content(second) == "five "
    assert cached(second) == 6  # "<user> say: one two three four"


def test_a_chat_that_took_another_turn_keeps_what_it_has_in_common(served: Served) -> None:
    turn(served, SECOND)
    other = [*SECOND[:2], {"role": "user", "content": "say: six"}]
    answer = turn(served, other)
    assert content(answer) == "six "
    assert cached(answer) == 12  # both turns and "<user>"


def test_what_one_adapter_took_in_serves_no_other(served: Served) -> None:
    turn(served, FIRST, model="base:travel")
    assert cached(turn(served, SECOND)) == 0
    assert cached(turn(served, SECOND, model="base:museum")) == 0
    again = turn(served, SECOND, model="base:travel")
    assert cached(again) > 0
    assert content(again) == "travel five "


def test_nothing_is_kept_where_reuse_is_off(start: Start) -> None:
    served = start("--reuse", "0")
    until(served.is_ready)
    turn(served, FIRST)
    assert cached(turn(served, SECOND)) == 0


def test_an_answer_with_a_seed_begins_afresh(served: Served) -> None:
    turn(served, FIRST)
    assert cached(turn(served, SECOND, seed=7)) == 0


def test_other_options_do_not_take_over_a_generation(served: Served) -> None:
    turn(served, FIRST, temperature=0.7)
    assert cached(turn(served, SECOND, temperature=0.2)) == 0
    assert cached(turn(served, SECOND, temperature=0.7)) > 0


def test_what_was_kept_after_a_hang_up_serves_only_what_it_holds(served: Served) -> None:
    with served.client().stream("POST", "/v1/chat/completions", json={"messages": FIRST, "stream": True}):
        pass
    until(lambda: served.running == 0)
    assert content(turn(served, FIRST)) == "one two three four "


def test_after_a_failure_nothing_is_kept(served: Served) -> None:
    failing = [{"role": "user", "content": "say: one crash"}]
    assert turn(served, failing).status_code == 500
    assert turn(served, failing).status_code == 500
    assert cached(turn(served, [*failing[:1], {"role": "assistant", "content": "x"}, {"role": "user", "content": "say: y"}])) == 0


def test_a_short_answer_does_not_wait_for_a_long_one(start: Start) -> None:
    served = start(STUB_DELAY="0.02")
    until(served.is_ready)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True)) as long:
        lines = long.iter_lines()
        next(line for line in lines if '"content":"1 "' in line)
        assert content(served.ask("say: short")) == "short "
        assert served.running == 1
        assert '"finish_reason":"length"' in "".join(lines)


def test_answers_of_several_adapters_at_once_are_each_their_own(start: Start) -> None:
    served = start("--together", "4", STUB_DELAY="0.005")
    until(served.is_ready)
    answers: dict[int, str] = {}
    models = ("base", "base:travel", "base:museum", "base:travel", "base", "base:museum")

    def ask(number: int) -> None:
        words = " ".join(f"{number}-{place}" for place in range(20))
        answers[number] = content(served.ask(f"say: {words}", model=models[number]))

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(len(models))]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    for number, model in enumerate(models):
        words = " ".join(f"{number}-{place}" for place in range(20))
        adapter = model.partition(":")[2]
        assert answers[number] == (f"{adapter} " if adapter else "") + words + " "


def test_a_client_that_does_not_read_holds_nobody_up(start: Start) -> None:
    served = start("--together", "2")
    until(served.is_ready)
    long = "say: " + " ".join(["x" * 30_000] * 95)
    with served.client().stream("POST", "/v1/chat/completions", json=chat(long, stream=True)):
        for number in range(5):
            assert content(served.ask(f"say: {number}")) == f"{number} "
        assert served.running == 1, "it rests where its client left it"
