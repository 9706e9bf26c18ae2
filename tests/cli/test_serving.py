"""`edge serve`: a port of loopback for people's own clients, with a key where one is wanted."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.desk import until
from tests.cli.test_commands import packaged, servers_of  # noqa: F401  a fixture

KEY = "a key of one's own"


@pytest.fixture
def serve(packaged) -> Iterator[Callable[..., str]]:  # noqa: F811
    """Start `edge serve`; gives the address to ask at."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **environment: str) -> str:
        port = free_port()
        started.append(packaged.start("serve", "2", "--port", port, *arguments, **environment))
        assert started[-1].stdout.readline().strip() == f"http://127.0.0.1:{port}/v1"
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    until(lambda: not servers_of(packaged))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def ask(address: str, key: str = "", **headers: str) -> httpx.Response:
    body = {"model": "base:travel", "messages": [{"role": "user", "content": "say: hi"}]}
    sent = headers | ({"authorization": f"Bearer {key}"} if key else {})
    return httpx.post(f"{address}/v1/chat/completions", json=body, headers=sent, timeout=20)


def test_clients_on_this_machine_are_answered_and_pages_of_other_names_are_not(serve) -> None:
    address = serve()
    assert ask(address).json()["choices"][0]["message"]["content"] == "travel hi "
    assert ask(address, host="evil.example").status_code == 403


@pytest.mark.parametrize("by_file", [False, True])
def test_with_a_key_only_those_who_bring_it(serve, packaged, by_file: bool) -> None:  # noqa: F811
    file = packaged.folder / "key"
    file.write_text(f"{KEY}\n")
    address = serve("--api-key-file", file) if by_file else serve(EDGE_API_KEY=KEY)
    assert ask(address).status_code == 401
    assert ask(address, KEY).status_code == 200
    (server,) = servers_of(packaged)
    assert KEY not in Path(f"/proc/{server}/cmdline").read_text()


def test_it_says_what_it_serves_on_what_and_to_whom(packaged) -> None:  # noqa: F811
    process = packaged.start("serve", "2", "--port", free_port())
    process.stdout.readline()
    said = next(line for line in process.stderr if line.startswith("Models:"))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert "base, base:travel, on CPU." in said and "EDGE_API_KEY sets a key" in said


def test_a_taken_port_is_told_with_the_way_out(packaged) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = packaged.edge("serve", "2", "--port", taken.getsockname()[1])
    assert done.returncode == 7
    assert "Address already in use" in done.stderr and "Choose another with" in done.stderr


def test_an_empty_key_file_is_refused(packaged) -> None:  # noqa: F811
    (packaged.folder / "key").write_text("\n")
    done = packaged.edge("serve", "2", "--api-key-file", packaged.folder / "key")
    assert done.returncode == 2 and "There is no key in" in done.stderr


def test_a_key_of_the_persons_own_does_not_lock_their_chat_out(packaged) -> None:  # noqa: F811
    done = packaged.edge("chat", "2", "--prompt", "say: hi", EDGE_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert "hi" in done.stdout and "It runs on CPU." in done.stderr
