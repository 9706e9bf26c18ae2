"""How the runtime server starts, says it is ready, and ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import Served, chat, until

Start = Callable[..., Served]


def test_is_alive_before_it_is_ready(start: Start) -> None:
    served = start(STUB_LOAD_SECONDS="1.5")
    until(served.socket.exists)
    client = served.client()
    assert client.get("/health").status_code == 200
    loading = client.get("/ready")
    assert (loading.status_code, loading.json(), loading.headers["retry-after"]) == (503, {"status": "loading"}, "1")
    early = served.ask("say: hi")
    assert early.status_code == 503 and early.json()["error"]["code"] == "model_loading"
    until(served.is_ready)
    assert served.ask("say: hi").status_code == 200


def test_ends_with_0_on_sigterm_and_takes_its_socket_away(served: Served) -> None:
    began = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - began < 2
    assert not served.socket.exists()


def test_an_answer_under_way_is_finished_before_the_end(start: Start) -> None:
    served = start(STUB_DELAY="0.05")
    until(served.is_ready)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True, max_tokens=20)) as response:
        lines = response.iter_lines()
        next(lines)
        served.process.terminate()
        assert '"finish_reason":"length"' in "".join(lines)
    assert served.process.wait(timeout=5) == 0


def test_an_answer_that_takes_too_long_is_cut_at_the_end(start: Start) -> None:
    served = start("--drain-seconds", "1", STUB_DELAY="0.5")
    until(served.is_ready)
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True)) as response:
        next(response.iter_lines())
        began = time.monotonic()
        assert served.stop() == 0
    assert time.monotonic() - began < 4  # the whole answer would take 100 s


def test_who_waits_is_sent_away_at_the_end(start: Start) -> None:
    served = start("--together", "1", STUB_DELAY="0.05")
    until(served.is_ready)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(served.ask("say: hi")))
    with served.client().stream("POST", "/v1/chat/completions", json=chat("count", stream=True, max_tokens=30)) as response:
        lines = response.iter_lines()
        next(lines)
        waiting.start()
        time.sleep(0.3)  # there is nothing to be seen of a request that waits
        served.process.terminate()
        list(lines)
    waiting.join()
    assert answers[0].status_code == 503 and answers[0].json()["error"]["code"] == "stopping"


def test_can_be_stopped_while_it_loads(start: Start) -> None:
    served = start(STUB_LOAD_SECONDS="30")
    until(served.socket.exists)
    until(lambda: served.client().get("/health").status_code == 200)
    began = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - began < 3


def test_everybody_who_may_enter_the_folder_may_use_the_socket(served: Served) -> None:
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o666


def test_the_socket_of_a_killed_server_is_replaced(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    served = start("--uds", str(path))
    served.socket = path
    until(lambda: "ready after" in served.log)
    assert served.is_ready()


def test_the_socket_of_a_living_server_is_left_alone(served: Served, start: Start) -> None:
    second = start("--uds", str(served.socket))
    assert second.process.wait(timeout=10) == 2
    assert "Another server listens" in second.log
    assert served.is_ready()


def test_a_file_in_place_of_the_socket_is_left_alone(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")
    assert start("--uds", str(path)).process.wait(timeout=10) == 2
    assert path.read_text() == "mine"


def test_a_path_too_long_for_a_socket_is_told(start: Start, tmp_path: Path) -> None:
    served = start("--uds", str(tmp_path / ("x" * 120)))
    assert served.process.wait(timeout=10) == 2
    assert "too long for a Unix socket (107 bytes)" in served.log


def test_listens_on_a_port_too(start: Start) -> None:
    served = start("--uds", "", "--port", "0")
    until(lambda: "ready after" in served.log)
    host, port = served.log.partition("http://")[2].split()[0].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        assert b" 200 " in connection.recv(100)
    assert host == "127.0.0.1"


def test_a_folder_without_a_model_ends_it_with_1(start: Start, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    served = start("--model", str(tmp_path / "empty"))
    assert served.process.wait(timeout=10) == 1
    assert "genai_config.json is missing" in served.log


def test_a_model_that_does_not_load_ends_it_with_1(start: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "genai_config.json").write_text(json.dumps({"model": {"context_length": 8, "eos_token_id": 0}}))
    served = start("--model", str(broken))
    assert served.process.wait(timeout=10) == 1
    assert "Is the export complete?" in served.log and "Traceback" not in served.log


def test_the_device_file_says_what_must_be_there(start: Start, tmp_path: Path) -> None:
    device = tmp_path / "device.json"
    device.write_text(json.dumps({"format": 1, "device": "cpu", "max_length": 20, "adapters": ["travel"]}))
    served = start("--device-file", str(device))
    until(lambda: "ready after" in served.log)
    assert [model["id"] for model in served.client().get("/v1/models").json()["data"]] == ["base", "base:travel"]
    assert "may be 20" in served.ask("word " * 30).json()["error"]["message"]

    device.write_text(json.dumps({"format": 1, "adapters": ["travel", "cooking"]}))
    served = start("--device-file", str(device))
    assert served.process.wait(timeout=10) == 1
    assert "cooking.onnx_adapter" in served.log


def test_a_device_file_of_a_newer_format_is_refused(start: Start, tmp_path: Path) -> None:
    device = tmp_path / "device.json"
    device.write_text(json.dumps({"format": 4}))
    served = start("--device-file", str(device))
    assert served.process.wait(timeout=10) == 2
    assert "format 4, newer" in served.log


def test_prompts_are_not_logged(served: Served) -> None:
    served.ask("say: swordfish")
    served.ask("say: swordfish crash")
    assert served.stop() == 0
    assert "swordfish" not in served.log


def test_the_environment_stands_in_for_flags(start: Start) -> None:
    served = start("--max-length", "30", EDGE_MAX_LENGTH="40", EDGE_DRAIN_SECONDS="many")
    assert served.process.wait(timeout=10) == 2
    assert "invalid int value: 'many'" in served.log
    served = start(EDGE_MAX_LENGTH="40")
    until(served.is_ready)
    assert "may be 40" in served.ask("word " * 50).json()["error"]["message"]


def test_works_as_a_user_without_a_home(start: Start) -> None:
    served = start(HOME="")
    until(served.is_ready)
    assert not [name for name in os.listdir(served.folder) if name.startswith(".")]


def made_for_a_gpu(folder: Path) -> tuple[str, str]:
    (folder / "device.json").write_text(json.dumps({"format": 3, "device": "card", "accelerator": "cuda13", "max_length": 100}))
    return "--device-file", str(folder / "device.json")


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_a_server_made_for_a_gpu_does_not_start_without_one(start: Start, tmp_path: Path) -> None:
    served = start(*made_for_a_gpu(tmp_path))
    assert served.process.wait(timeout=10) == 3
    assert "no NVIDIA driver here" in served.log and "EDGE_ALLOW_CPU=1" in served.log and "Traceback" not in served.log


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_it_serves_on_the_cpu_where_allowed_and_says_so(start: Start, tmp_path: Path) -> None:
    served = start(*made_for_a_gpu(tmp_path), EDGE_ALLOW_CPU="1")
    until(served.is_ready)
    assert served.client().get("/ready").json()["provider"] == "cpu"
    assert "Serving on the CPU" in served.log and "on cpu" in served.log


def test_a_taken_port_is_told_with_the_way_out(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        served = start("--uds", "", "--port", str(taken.getsockname()[1]))
        assert served.process.wait(timeout=10) == 2
    assert "Address already in use. Choose another with --host and --port" in served.log


@pytest.mark.parametrize("flag", [("--port", "70000"), ("--connections", "0"), ("--receive-seconds", "-1"), ("--access-log", "yes")])
def test_a_number_out_of_its_bounds_is_refused(start: Start, flag: tuple[str, str]) -> None:
    served = start(*flag)
    assert served.process.wait(timeout=10) == 2
    assert f"argument {flag[0]}" in served.log and "Traceback" not in served.log


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_a_device_file_that_is_none_is_refused(start: Start, tmp_path: Path, content: str) -> None:
    (tmp_path / "device.json").write_text(content, "latin-1")
    served = start("--device-file", str(tmp_path / "device.json"))
    assert served.process.wait(timeout=10) == 2
    assert "Package the image again" in served.log and "Traceback" not in served.log
