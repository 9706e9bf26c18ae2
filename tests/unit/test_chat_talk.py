"""A conversation with a real server whose library is a stand-in."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import Served, start, until  # noqa: F401  (a fixture)
from toolkit.core.batch import Model, Prompt, ask_all
from toolkit.core.chat import Conversation, Finished, Sampling, Token
from toolkit.core.engine import Server
from toolkit.errors import ChatError, PromptTooLong


@pytest.fixture
def talk(start: Callable[..., Served]) -> Iterator[Callable[..., Conversation]]:  # noqa: F811
    """Makes conversations with one server."""
    served = start()
    until(served.is_ready)
    yield lambda **more: Conversation(Server(served.socket, "1"), **more)


GREEDY = Sampling()


def words(conversation: Conversation, text: str, adapter: str = "", sampling: Sampling = GREEDY) -> str:
    return "".join(piece.text for piece in conversation.ask(text, adapter, sampling) if isinstance(piece, Token))


def test_a_turn_is_kept_with_what_it_took(talk) -> None:
    conversation = talk()
    assert words(conversation, "say: hi there", "travel", Sampling(max_tokens=2)) == "travel hi "
    [turn] = conversation.turns
    assert (turn.question, turn.answer, turn.adapter) == ("say: hi there", "travel hi ", "travel")
    assert (turn.finished.reason, turn.finished.tokens) == ("length", 2) and turn.finished.memory_bytes > 1_000_000


def test_the_last_turn_is_taken_back_to_be_asked_again(talk) -> None:
    conversation = talk()
    words(conversation, "say: one")
    words(conversation, "say: two")
    assert conversation.take_back() == "say: two"
    assert [turn.answer for turn in conversation.turns] == ["one "]
    conversation.clear()
    assert conversation.take_back() == ""


def test_the_system_prompt_goes_before_every_question(talk) -> None:
    conversation = talk(system="Be brief.")
    words(conversation, "say: hi")
    assert [message["role"] for message in conversation.messages] == ["system", "user", "assistant"]
    assert conversation.turns[0].finished.prompt_tokens == 6


def test_what_is_refused_leaves_the_conversation_as_it_was(talk) -> None:
    conversation = talk()
    words(conversation, "say: hi")
    with pytest.raises(PromptTooLong, match="may be 200"):
        words(conversation, "word " * 250)
    with pytest.raises(ChatError, match="base:museum, base:travel"):
        words(conversation, "hi", "cooking")
    with pytest.raises(ChatError, match="out of memory"):
        words(conversation, "say: crash")
    assert len(conversation.turns) == 1


def test_stopping_wakes_who_waits_for_the_first_word(talk) -> None:
    conversation = talk()
    pieces: list = []
    asking = threading.Thread(target=lambda: pieces.extend(conversation.ask("say: pause")))
    asking.start()
    until(lambda: conversation._asking is not None and conversation._asking._socket is not None)
    conversation.stop()
    asking.join(timeout=10)
    assert not asking.is_alive()
    assert [piece.reason for piece in pieces] == ["stopped"] and conversation.turns == []


def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came(talk) -> None:
    conversation = talk()
    pieces = []
    for piece in conversation.ask("say: one two pause"):
        pieces.append(piece)
        if len(pieces) == 2:
            conversation.stop()
    assert conversation.turns[0].answer == "one two " and isinstance(pieces[-1], Finished) and pieces[-1].tokens == 2


def test_two_conversations_on_one_server_do_not_mix(talk) -> None:
    first, second = talk(), talk()
    answers: dict[str, str] = {}
    asking = [
        threading.Thread(target=lambda: answers.update(first=words(first, "say: left"))),
        threading.Thread(target=lambda: answers.update(second=words(second, "say: right", "museum"))),
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(timeout=20)
    assert answers == {"first": "left ", "second": "museum right "}


def test_a_connection_that_breaks_off_is_explained_by_who_knows(tmp_path: Path) -> None:
    gone = Conversation(Server(tmp_path / "s", "1"), lambda said: ChatError("It was killed."))
    with pytest.raises(ChatError, match="It was killed."):
        words(gone, "hi")
    assert gone.turns == []


def test_an_answer_cut_in_the_middle_of_a_line_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\ndata: {"choices"')
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    conversation = Conversation(Server(path, "1"))
    with pytest.raises(ChatError):
        words(conversation, "hi")
    assert conversation.turns == []
    os.unlink(path)


def test_a_batch_asks_every_model_and_goes_on_after_a_refusal(talk) -> None:
    models = [Model(name or "base", name, talk) for name in ("", "travel")]
    prompts = [Prompt(1, "say: one"), Prompt(2, "word " * 250), Prompt(4, "say: two")]
    results = list(ask_all(prompts, models, Sampling()))
    assert [(each.line, each.model, each.answer) for each in results if each.figures] == [
        (1, "base", "one "), (1, "travel", "travel one "), (4, "base", "two "), (4, "travel", "travel two "),
    ]  # fmt: skip
    assert ["251 tokens" in each.problem for each in results if not each.figures] == [True, True]
