"""Servers for clients to talk to: the real one on a real model, and a quick one whose library is a stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai

from tests.containers.runtime.conftest import RUNTIME, STUB, make_stub_model


def until(is_so: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so; fail where it does not come about."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)


@dataclass
class Live:
    """A running server."""

    process: subprocess.Popen
    folder: Path
    url: str = ""

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def memory(self) -> int:
        """Bytes in RAM that are the process's own: pages of the model's file may come and go as the machine likes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def is_listening(self) -> bool:
        assert self.process.poll() is None, self.log
        self.url = self.log.partition("listening on ")[2].split("\n")[0].partition(" ")[0]
        return bool(self.url)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        with suppress(httpx.ConnectError):
            return httpx.get(f"{self.url}/ready").status_code == 200
        return False

    def is_idle(self) -> bool:
        """No answer is in the making, and nobody waits for one."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return all(line.endswith((" 0", " 0.0")) for line in lines if line.startswith(("edge_requests_running", "edge_requests_waiting")))

    def ask(self, text: str, **more: object) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/chat/completions", json=chat(text, **more), timeout=120)

    def client(self, **more: object) -> openai.OpenAI:
        return openai.OpenAI(**self._access(more))

    def async_client(self, **more: object) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(**self._access(more))

    def _access(self, more: dict[str, object]) -> dict[str, object]:
        return {"base_url": f"{self.url}/v1", "api_key": "unused", "max_retries": 0, "timeout": 120, **more}


def chat(text: str, **more: object) -> dict:
    return {"model": "base", "messages": [{"role": "user", "content": text}], **more}


@contextmanager
def real_server(python: str, sample: Path, folder: Path, *flags: str, **environment: str) -> Iterator[Live]:
    """The server on the sample model, with the library."""
    places = ("--model", sample / "model", "--adapters", sample / "adapters", "--device-file", sample / "device.json")
    with _started(folder, [python, RUNTIME / "serve.py", *places, "--port", "0", *flags], environment) as live:
        until(live.is_ready, seconds=120)
        yield live


@contextmanager
def stub_server(folder: Path, *flags: str, **environment: str) -> Iterator[Live]:
    """The server with the stand-in for the library: quick, and its answers are known."""
    make_stub_model(folder)
    places = ("--model", folder / "model", "--adapters", folder / "adapters", "--device-file", folder / "none.json")
    command = [sys.executable, RUNTIME / "serve.py", *places, "--port", "0", *flags]
    with _started(folder, command, {"PYTHONPATH": str(STUB), "STUB_ALIVE": str(folder / "alive"), **environment}) as live:
        until(live.is_ready)
        yield live


@contextmanager
def _started(folder: Path, command: list, environment: dict[str, str]) -> Iterator[Live]:
    kept = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in command], env=kept | environment, stdin=subprocess.DEVNULL, stderr=log)
    live = Live(process, folder)
    try:
        until(live.is_listening)
        yield live
    finally:
        process.kill()
        process.wait()
