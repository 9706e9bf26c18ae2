"""What may go wrong between a client and a server on a device, with the real one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import openai
import pytest

from tests.clients.live import Live, chat, until
from tests.containers.runtime.conftest import RUNTIME

pytestmark = pytest.mark.model

STORY = [{"role": "user", "content": "Tell me a very long story about a ship."}]


def test_a_megabyte_of_prompt_is_refused_with_both_numbers(server: Live) -> None:
    refused = server.ask("a word " * 150_000)
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "context_length_exceeded"
    assert "2048" in refused.json()["error"]["message"]
    assert server.ask("Hello", max_tokens=2).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":"user","content":"\xff\xfe"}]}',
        b'{"messages":[{"role":"user","content":"hi"}],"temperature":NaN}',
        b"",
        b"\x00",
    ],
    ids=["no UTF-8", "NaN", "nothing", "a NUL"],
)
def test_what_is_no_json_is_refused_with_a_reason(server: Live, body: bytes) -> None:
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and len(answer.json()["error"]["message"]) > 10


def test_clients_that_drip_their_requests_in_keep_nobody_waiting_and_are_hung_up_on(start_real) -> None:
    live = start_real("--receive-seconds", "1", "--connections", "40")
    slow = [socket.create_connection(("127.0.0.1", live.port), timeout=30) for _ in range(30)]
    for number, connection in enumerate(slow):
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n" + (b"Content-Type: application/json\r\n" * (number % 2))
        )
    assert live.ask("Hello", max_tokens=2).status_code == 200
    for connection in slow:
        with connection:
            said = connection.recv(1000)  # its end, or a refusal and then its end
            assert not said or b" 408 " in said.partition(b"\r\n")[0] + b" "
    assert live.is_ready()


def test_a_client_that_does_not_read_its_answer_holds_up_nobody(server: Live) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        body = httpx.Request("POST", server.url, json=chat("Count.", stream=True, max_tokens=200)).content
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        deaf.sendall(head.encode() + body)
        assert server.ask("Hello", max_tokens=2).status_code == 200
    until(server.is_idle)


def test_a_model_file_cut_short_ends_the_server_with_a_reason(own_sample: Path, serving_python: str, tmp_path: Path) -> None:
    weights = own_sample / "model" / "model.onnx.data"
    part = weights.read_bytes()[: weights.stat().st_size // 2]
    weights.unlink()  # the name only: the file is shared
    weights.write_bytes(part)
    code, said = _ends(serving_python, tmp_path, "--model", own_sample / "model", "--adapters", own_sample / "adapters")
    assert code == 1 and "does not load" in said and "Is the export complete?" in said and "Traceback" not in said


def test_an_adapter_cut_short_is_named(own_sample: Path, serving_python: str, tmp_path: Path) -> None:
    adapter = own_sample / "adapters" / "travel.onnx_adapter"
    part = adapter.read_bytes()[:5000]
    adapter.unlink()
    adapter.write_bytes(part)
    code, said = _ends(serving_python, tmp_path, "--model", own_sample / "model", "--adapters", own_sample / "adapters")
    assert code == 1 and "travel" in said and "Traceback" not in said


def test_a_port_that_is_taken_is_told(server: Live, sample: Path, serving_python: str, tmp_path: Path) -> None:
    code, said = _ends(serving_python, tmp_path, "--model", sample / "model", "--port", str(server.port))
    assert code == 2 and f"127.0.0.1:{server.port}" in said and "Choose another" in said


def _ends(python: str, folder: Path, *flags: object) -> tuple[int, str]:
    """How a server ends that cannot serve, and what it says."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, RUNTIME / "serve.py", "--device-file", folder / "none.json", "--port", "0", *flags]
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


def test_a_server_that_is_killed_breaks_the_stream_and_can_be_started_again(start_real) -> None:
    live = start_real()
    stream = live.client().chat.completions.create(model="base", messages=STORY, stream=True, temperature=1.0, max_tokens=1500)
    next(stream)
    os.kill(live.process.pid, signal.SIGKILL)
    with pytest.raises((openai.APIError, httpx.TransportError)):
        list(stream)
    again = start_real("--port", str(live.port))
    assert again.port == live.port and again.ask("Hello", max_tokens=2).status_code == 200


def test_over_tcp_no_piece_waits_for_the_last_ones_acknowledgement(serving_python: str) -> None:
    program = f"""
import socket, sys
sys.path.insert(0, {str(RUNTIME)!r})
import serve
from options import read_options
listener = serve._listen(read_options(["--port", "0"]))
client = socket.create_connection(listener.getsockname())
print(listener.accept()[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
"""
    done = subprocess.run([serving_python, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr
