"""Ten thousand requests that nobody should send: from the shape of good ones, and from their bytes."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.clients.live import Live, chat

SHAPED, BYTES = 3000, 7000
REAL_SHAPED, REAL_BYTES = 300, 100
REFUSALS = (429, 503)
"""Statuses above 499 that say come again, and the one for a full queue."""
PATHS = ("/v1/chat/completions", "/v1/completions")
SECONDS = 20
AT_ONCE, PATIENCE = 16, 0.5

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
words = st.text(max_size=40) | st.sampled_from(("say: a b", "<|im_end|>", "\x00", "\ud800", "\u202e", "🇩🇪" * 9, "say: " + "x " * 300))
parts = st.lists(st.fixed_dictionaries({"type": st.sampled_from(("text", "image_url", "")), "text": words | anything}), max_size=3)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "system", "assistant", "developer", "tool", "wizard")), "content": words | parts}
    )
    | anything,
    max_size=4,
)
numbers = st.sampled_from((0, 1, -1, 0.5, 2, 2.5, 1e-9, 1e999, float("nan"), 2**31, 2**63, 10**400, True, "1")) | anything
FIELDS = {
    "model": st.sampled_from(("base", "base:travel", "base:", "travel", "", "base:../../etc/passwd")) | anything,
    "messages": messages | anything,
    "prompt": words | st.lists(words | st.integers(-2, 99999), max_size=4) | anything,
    "stream": st.booleans() | anything,
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans() | anything}) | anything,
    "max_tokens": numbers,
    "max_completion_tokens": numbers,
    "temperature": numbers,
    "top_p": numbers,
    "top_k": numbers,
    "seed": numbers,
    "stop": words | st.lists(words, max_size=6) | anything,
    "n": numbers,
    "best_of": numbers,
    "echo": st.booleans() | anything,
    "suffix": words | anything,
    "logprobs": st.booleans() | numbers,
    "top_logprobs": numbers,
    "presence_penalty": numbers,
    "logit_bias": anything,
    "response_format": st.sampled_from(({"type": "text"}, {"type": "json_object"}, {})) | anything,
    "tools": anything,
    "user": words | anything,
}
good = {"messages": st.just([{"role": "user", "content": "say: a b c"}]), "prompt": st.just("say: a b"), "max_tokens": st.integers(1, 4)}
bodies = st.one_of(
    st.fixed_dictionaries(good, optional={name: field for name, field in FIELDS.items() if name not in good}),
    st.fixed_dictionaries({}, optional=FIELDS),
    anything,
)


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    from tests.clients.live import stub_server

    with stub_server(tmp_path_factory.mktemp("fuzzed"), "--max-length", "24") as live:
        yield live


def test_requests_of_nearly_the_right_shape_are_answered_or_refused(stub: Live) -> None:
    with unharmed(stub):
        statuses = fuzz_shapes(stub, SHAPED, without="logprobs")  # the stand-in has no likelihoods
    assert statuses[200] > SHAPED / 100 and statuses[400] > SHAPED / 4, statuses


def test_bytes_that_are_nearly_a_request_are_answered_or_refused(stub: Live) -> None:
    with unharmed(stub):
        statuses = fuzz_bytes(stub, BYTES)
    assert statuses[200] > BYTES / 100 and statuses[400] > BYTES / 10, statuses


@pytest.mark.model
def test_the_real_server_takes_them_as_well(server: Live) -> None:
    with unharmed(server):
        fuzz_shapes(server, REAL_SHAPED)
        fuzz_bytes(server, REAL_BYTES)


@contextmanager
def unharmed(server: Live) -> Iterator[None]:
    """The server says afterwards what it said before, and nothing unforeseen happened meanwhile."""
    before = server.ask("say: still here", max_tokens=4).json()["choices"]
    yield
    assert server.ask("say: still here", max_tokens=4).json()["choices"] == before
    assert "Traceback" not in server.log, server.log[-3000:]


def fuzz_shapes(server: Live, count: int, without: str = "") -> Counter[int]:
    statuses: Counter[int] = Counter()
    line = KeptOpen(server)

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(path=st.sampled_from(PATHS), body=bodies)
    def send(path: str, body: object) -> None:
        if isinstance(body, dict):
            body.pop(without, None)
            if not isinstance(body.get("max_tokens"), int):
                body |= {"max_completion_tokens": 3}  # an answer in full would only take time
        status, said = line.post(path, json.dumps(body).encode())
        statuses[status] += 1
        assert status < 500 or status in REFUSALS, (status, said, path, body)
        assert status == 200 or json.loads(said)["error"]["message"], (status, said)

    send()
    line.close()
    return statuses


class KeptOpen:
    """One connection for many requests, opened again where the server closes it."""

    def __init__(self, server: Live) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", path, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


def fuzz_bytes(server: Live, count: int) -> Counter[int]:
    """Spoil whole requests, head and body. A status of 0: the server hung up without a word, as it may when asked in no HTTP."""
    choice = random.Random(7)
    todo = [bytes(_spoilt(choice)) for _ in range(count)]
    statuses: Counter[int] = Counter()

    async def send_all() -> None:
        while todo:
            sent = todo.pop()
            status = await _first_status(server.port, sent)
            statuses[status] += 1
            assert status < 500 or status in (*REFUSALS, 501, 505), (status, sent)

    async def at_once() -> None:
        await asyncio.gather(*(send_all() for _ in range(AT_ONCE)))

    asyncio.run(at_once())
    return statuses


def _spoilt(choice: random.Random) -> bytearray:
    body = json.dumps(chat("say: a b", max_tokens=2, stream=choice.random() < 0.3)).encode()
    head = (
        f"POST {choice.choice(PATHS)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = bytearray(head.encode() + body)
    for _ in range(choice.choice((1, 1, 1, 2, 3, 8))):
        choice.choice(SPOILERS)(choice, request)
    return request


def _flip(choice: random.Random, request: bytearray) -> None:
    request[choice.randrange(len(request))] ^= 1 << choice.randrange(8)


def _put(choice: random.Random, request: bytearray) -> None:
    at = choice.randrange(len(request))
    request[at:at] = choice.choice(
        (b"\0", b"\r\n", b"\xff\xfe", b"{" * 50, b"A" * 2000, b"Transfer-Encoding: chunked\r\n", b"9" * 30, b"\\ud800")
    )


def _cut(choice: random.Random, request: bytearray) -> None:
    at = choice.randrange(len(request) - 1)
    del request[at : at + choice.randrange(1, 40)]
    request += b"" if request else b"\r\n"


def _repeat(choice: random.Random, request: bytearray) -> None:
    at = choice.randrange(len(request))
    request[at:at] = request[at : at + choice.randrange(1, 200)]


SPOILERS: tuple[Callable[[random.Random, bytearray], None], ...] = (_flip, _put, _cut, _repeat)


async def _first_status(port: int, sent: bytes) -> int:
    """Send, and hear the beginning of the answer; where none comes, the request was taken for a part of one, and we hang up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        with suppress(TimeoutError):
            return _status(await asyncio.wait_for(reader.readline(), PATIENCE))
        writer.write_eof()
        return _status(await asyncio.wait_for(reader.readline(), SECONDS))
    except ConnectionError:
        return 0
    finally:
        writer.close()


def _status(line: bytes) -> int:
    return int(line.split()[1]) if line else 0
