"""Log probabilities as OpenAI's clients read them."""

from __future__ import annotations

import json
import sys

from tests.containers.runtime.conftest import RUNTIME

sys.path.insert(0, str(RUNTIME))

from model import Piece, TokenLogprob
from shapes import ChatShape, TextShape

IMPOSSIBLE = float("-inf")
PARIS = TokenLogprob(" Paris", b" Paris", -0.5, ((" Paris", b" Paris", -0.5), ("�", b"\xc3", IMPOSSIBLE)))
END = TokenLogprob(".", b".", IMPOSSIBLE)
PIECES = [Piece("", 0), Piece(" Paris", 1, logprobs=(PARIS,)), Piece(".", 2, "stop", (END,))]


def test_a_chats_log_probabilities_have_bytes_and_alternatives() -> None:
    content = ChatShape().whole(PIECES, "stop")["logprobs"]["content"]
    assert [token["token"] for token in content] == [" Paris", "."]
    assert content[0]["top_logprobs"][1] == {"token": "�", "logprob": -9999.0, "bytes": [0xC3]}
    assert content[1]["top_logprobs"] == []


def test_a_texts_log_probabilities_are_lists_that_say_where_each_token_begins() -> None:
    lists = TextShape().whole(PIECES, "stop")["logprobs"]
    assert lists == {
        "tokens": [" Paris", "."],
        "token_logprobs": [-0.5, -9999.0],
        "top_logprobs": [{" Paris": -0.5, "�": -9999.0}, {}],
        "text_offset": [0, 6],
    }


def test_offsets_go_on_from_chunk_to_chunk() -> None:
    shape = TextShape()
    assert [shape.part(piece)["logprobs"]["text_offset"] for piece in PIECES[1:]] == [[0], [6]]


def test_what_is_impossible_is_still_json() -> None:
    for shape in (ChatShape(), TextShape()):
        json.dumps([shape.whole(PIECES, "stop"), shape.part(PIECES[2])], allow_nan=False)


def test_nobody_who_did_not_ask_gets_any() -> None:
    for shape in (ChatShape(), TextShape()):
        assert shape.whole([Piece("hi", 1, "stop")], "stop")["logprobs"] is None
