"""How the runtime server bears slow clients, too many of them, and answers without end."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.containers.runtime.conftest import Served, chat, events, make_stub_model, until

Start = Callable[..., Served]
NEVER = b"(the end)"
OK = b'{"status":"ok"}'


@contextmanager
def connection(served: Served) -> Iterator[socket.socket]:
    """A client that says what it likes."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(10)
        connected.connect(str(served.socket))
        yield connected


def hear(connected: socket.socket, wanted: bytes) -> bytes:
    """What is said, up to `wanted` or the end."""
    said = b""
    with suppress(ConnectionResetError):
        while wanted not in said and (part := connected.recv(65536)):
            said += part
    return said


# -- slow and many ------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(start: Start) -> Served:
    served = start("--receive-seconds", "1")
    until(served.is_ready)
    return served


@pytest.mark.parametrize("begun", [b"", b"GET /health HT", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nA: b\r\n"])
def test_a_request_that_does_not_come_is_not_waited_for(impatient: Served, begun: bytes) -> None:
    with connection(impatient) as slow:
        slow.sendall(begun)
        said = hear(slow, NEVER)
    assert said.startswith(b"HTTP/1.1 408 ") and b'"request_too_slow"' in said


def test_headers_that_drip_in_do_not_buy_time(impatient: Served) -> None:
    with connection(impatient) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\n")
        slow.settimeout(0.1)
        said = b""
        for _ in range(100):
            try:
                slow.sendall(b"a")
                said = slow.recv(1000)
                break
            except TimeoutError:
                continue
    assert said.startswith(b"HTTP/1.1 408 ")


def test_the_second_request_of_a_connection_has_no_more_time(impatient: Served) -> None:
    with connection(impatient) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in hear(slow, OK)
        slow.sendall(b"GET /hea")
        assert b" 408 " in hear(slow, NEVER)


def test_a_body_that_does_not_come_is_not_waited_for(impatient: Served) -> None:
    with connection(impatient) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        assert hear(slow, b'"request_too_slow"').startswith(b"HTTP/1.1 408 ")
        hear(slow, NEVER)


def test_a_client_that_does_not_read_on_loses_its_answer(start: Start, tmp_path: Path) -> None:
    make_stub_model(tmp_path / "long", context_length=2000)
    served = start("--receive-seconds", "1", "--model", str(tmp_path / "long/model"))
    until(served.is_ready)
    asked = chat("say: " + " ".join(f"{number}{'x' * 20_000}" for number in range(150)), stream=True)
    with served.client().stream("POST", "/v1/chat/completions", json=asked):
        until(lambda: '"status":499' in served.log)
        until(lambda: served.running == 0)


def test_more_connections_than_allowed_are_sent_away_and_the_others_served(start: Start) -> None:
    served = start("--connections", "3")
    until(served.is_ready)
    for client in served.clients:
        client.close()
    with connection(served) as one, connection(served) as two, connection(served) as three:
        for each in (one, two, three):
            each.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in hear(each, OK)
        with connection(served) as four:
            said = hear(four, NEVER)
        assert b" 503 " in said and b"too_many_connections" in said and b"retry-after" in said
        three.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in hear(three, OK)
    until(lambda: served.client().get("/health").status_code == 200)


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET  /\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"]
)
def test_what_is_no_http_is_told_so_in_openais_shape(served: Served, noise: bytes) -> None:
    with connection(served) as confused:
        confused.sendall(noise + b"\r\n\r\n")
        said = hear(confused, NEVER)
    assert said.startswith(b"HTTP/1.1 400 ") and b'"invalid_http"' in said


def test_a_head_of_many_kilobytes_is_refused(served: Served) -> None:
    with connection(served) as talkative:
        talkative.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200_000)
        assert talkative.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_many_large_bodies_at_once_find_no_room_and_leave_none_taken(served: Served) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n"
    with ExitStack() as stack:
        senders = [stack.enter_context(connection(served)) for _ in range(5)]
        for sender in senders:
            sender.sendall(head + b" " * 3_900_000)
        (refused, *_), _, _ = select.select(senders, [], [], 10)
        said = hear(refused, b"too_many_bytes")
        assert b" 503 " in said and b"retry-after" in said
    until(lambda: served.ask("say: " + "x" * 3_000_000).status_code == 200)


def test_half_a_body_and_gone_harms_nobody(served: Served) -> None:
    with connection(served) as gone:
        gone.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    until(lambda: '"status":499' in served.log)
    assert served.ask("say: next").status_code == 200


# -- answers without end ------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(start: Start) -> Served:
    """A server whose answers take ten seconds, and that lets nobody have more than one."""
    served = start("--request-seconds", "1", STUB_DELAY="0.05")
    until(served.is_ready)
    return served


def test_an_answer_that_takes_too_long_is_a_504(hasty: Served) -> None:
    answer = hasty.ask("count")
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "request_timeout"
    assert "EDGE_REQUEST_SECONDS" in answer.json()["error"]["message"]
    until(lambda: hasty.running == 0)


def test_a_stream_that_takes_too_long_ends_with_the_error(hasty: Served) -> None:
    *words, last = events(hasty.ask("count", stream=True))
    assert last["error"]["code"] == "request_timeout" and len(words) > 1
    until(lambda: hasty.running == 0)


def test_waiting_for_others_counts(hasty: Served) -> None:
    codes: list[str] = []

    def ask() -> None:
        codes.append(hasty.ask("count").json()["error"]["code"])

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert codes == ["request_timeout"] * 4
    assert hasty.ask("say: next").status_code == 200


def test_who_has_to_come_again_is_told_when(start: Start) -> None:
    served = start("--max-waiting", "0", "--together", "1", STUB_DELAY="0.1")
    until(served.is_ready)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True)) as answer:
        assert answer.status_code == 200
        words = answer.iter_lines()
        next(words)
        refused = served.ask("say: hi")
    assert refused.status_code == 429 and refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 30


def test_who_hangs_up_in_the_queue_leaves_it(start: Start) -> None:
    served = start("--together", "1", STUB_DELAY="0.05")
    until(served.is_ready)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True)) as answer:
        words = answer.iter_lines()
        next(words)
        with pytest.raises(httpx.ReadTimeout):
            served.client(timeout=0.5).post("/v1/chat/completions", json=chat("say: hi"))
        until(lambda: '"status":499' in served.log)
        with served.client() as client:
            assert "edge_requests_waiting 0\n" in client.get("/metrics").text
