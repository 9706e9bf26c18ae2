"""The runtime server as a program, on a Unix socket, with a stand-in for the library that runs models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

RUNTIME = Path(__file__).parents[3] / "containers" / "runtime"
STUB = Path(__file__).parent / "stub"


def until(is_so: Callable[[], object], seconds: float = 15) -> None:
    """Wait until something is so; fail where it does not come about."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.01)


@dataclass
class Served:
    """A running server and the folder it works in."""

    folder: Path
    process: subprocess.Popen
    socket: Path
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def running(self) -> int:
        """Answers in the making."""
        with self.client() as client:  # not one more open connection each time that somebody looks
            page = client.get("/metrics").text
        return int(next(line for line in page.splitlines() if line.startswith("edge_requests_running ")).split()[1])

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def client(self, timeout: float = 20) -> httpx.Client:
        client = httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://edge", timeout=timeout)
        self.clients.append(client)
        return client

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.client().get("/ready").status_code == 200
        except httpx.ConnectError:
            return False

    def ask(self, text: str, **more: object) -> httpx.Response:
        return self.client().post("/v1/chat/completions", json=chat(text, **more))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=20)


def chat(text: str, **more: object) -> dict:
    return {"model": "base", "messages": [{"role": "user", "content": text}], **more}


def events(response: httpx.Response) -> Iterator[dict]:
    """The JSON of each event; the closing [DONE] is checked and left out."""
    lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return iter([json.loads(line.removeprefix("data: ")) for line in lines[:-1]])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start a server with the stand-in: `start("--max-length", "50", STUB_DELAY="0.1")`."""
    with starting(tmp_path) as _start:
        yield _start


@pytest.fixture(scope="module")
def start_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """The same, for a server that all the tests of a module ask."""
    with starting(tmp_path_factory.mktemp("served")) as _start:
        yield _start


@contextmanager
def starting(folder_of_all: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def _start(*flags: str, **environment: str) -> Served:
        folder = folder_of_all / str(len(started))
        make_stub_model(folder)
        served = _launch(folder, flags, environment)
        started.append(served)
        return served

    yield _start
    for served in started:
        for client in served.clients:
            client.close()
        served.process.kill()
        served.process.wait()


@pytest.fixture
def served(start: Callable[..., Served]) -> Served:
    """A server that is ready, with the adapters `museum` and `travel`."""
    served = start()
    until(served.is_ready)
    return served


def make_stub_model(folder: Path, context_length: int = 200) -> None:
    for name in ("model", "adapters", "alive"):
        (folder / name).mkdir(parents=True)
    (folder / "model/genai_config.json").write_text(
        json.dumps({"model": {"context_length": context_length, "eos_token_id": [0], "vocab_size": 1000}})
    )
    (folder / "model/model.onnx").touch()
    for name in ("travel", "museum"):
        (folder / f"adapters/{name}.onnx_adapter").touch()


def _launch(folder: Path, flags: tuple[str, ...], environment: dict[str, str]) -> Served:
    socket = folder / "s"
    places = ("--model", folder / "model", "--adapters", folder / "adapters", "--uds", socket)
    kept = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(STUB), "STUB_ALIVE": str(folder / "alive")}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, RUNTIME / "serve.py", *places, "--device-file", folder / "none.json", *flags]
        process = subprocess.Popen(command, env=kept | environment, stderr=log)
    return Served(folder, process, socket)
