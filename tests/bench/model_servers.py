"""Servers of the sample model to hold beside each other, and a client that takes the time of their answers."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import EDGE, ROOT, Options, Skipped, clean_environ
from tests.bench.short_recipe import lend_sample_model, write_short_recipe
from toolkit import settings as settings_module
from toolkit.core import content
from toolkit.core.device import find
from toolkit.core.made import made_for
from toolkit.core.run import find_run

RUNTIME = ROOT / "containers" / "runtime"
READY_SECONDS = 120.0
MAX_LENGTH = 2048
SPOKEN = "data/samples/calibration.jsonl"


@dataclass(frozen=True)
class Place:
    """Where a server listens: a Unix socket, or a port of this machine."""

    socket: Path | None = None
    port: int = 0

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        if self.socket:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(300)
            connection.sock.connect(str(self.socket))
        return connection

    def answers(self, path: str) -> bool:
        try:
            connection = self.connect()
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except OSError:
            return False


@dataclass(frozen=True)
class Answer:
    """One streamed answer, as its client saw it."""

    text: str
    first_ms: float
    """From the request to the first word."""
    seconds: float
    """From the request to the end."""
    prompt_tokens: int
    tokens: int
    rate: float
    """Tokens a second after the first."""


def ask(place: Place, messages: Sequence[dict[str, str]], tokens: int, model: str = "base") -> Answer:
    """A greedy answer of at most so many tokens, on a connection of its own."""
    wanted = {"model": model, "messages": list(messages), "max_tokens": tokens, "temperature": 0, "stream": True}
    more = {"stream_options": {"include_usage": True}, "cache_prompt": False}  # the latter is llama.cpp's; ours leaves it unread
    connection, body = place.connect(), json.dumps(wanted | more)
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {response.read().decode(errors='replace')}")
    heard, usage = [], {}
    for line in response:
        if line.startswith(b"data: {"):
            said = json.loads(line[6:])
            usage = said.get("usage") or usage
            heard += [(time.perf_counter(), text) for choice in said["choices"] if (text := choice["delta"].get("content"))]
    connection.close()
    first, last, count = heard[0][0], heard[-1][0], usage["completion_tokens"]
    rate = (count - 1) / (last - first) if last > first else 0.0
    return Answer("".join(text for _, text in heard), 1000 * (first - began), last - began, usage["prompt_tokens"], count, rate)


def spoken(words: int, number: int) -> list[dict[str, str]]:
    """A question of so many words, another text for each number from its first word on."""
    rows = (ROOT / SPOKEN).read_text("utf-8").splitlines()
    text = " ".join(json.loads(row)["response"] for row in rows).split()
    start = 41 * number % (len(text) - words)
    return [{"role": "user", "content": f"{number}. {' '.join(text[start : start + words])}\nGo on with this text at length."}]


def sample_content(options: Options) -> Path:
    """The sample model as it goes into an image: EDGE_SAMPLE, or of the newest build in --home, or of a short build.

    Raises:
        Skipped: there is no build environment.
    """
    if ready := os.environ.get("EDGE_SAMPLE"):
        return Path(ready)
    build_python()
    home = options.home or options.work / "home"
    if options.home is None:
        home.mkdir()
        lend_sample_model(home)
        recipe = write_short_recipe(options.work / "travel-short.toml")
        subprocess.run([EDGE, "run", str(recipe), "--engine", "local"], env=clean_environ(home), check=True, stdout=subprocess.DEVNULL)
    build = find_run(home / "runs", "last")
    made = made_for(build.manifest()["artifacts"], "cpu")
    folder = options.work / "content"
    content.put_together(build.folder, made, folder, True, lambda *_: None)
    content.write_config(folder, content.device_config(folder, made, find(ROOT / "data" / "devices", "cpu"), MAX_LENGTH)[0])
    return folder


def build_python() -> Path:
    python = settings_module.load({}).build_python
    if not python.exists():
        raise Skipped("there is no local build environment; `make build-env` makes it")
    return python


@contextmanager
def process(command: Sequence[object], place: Place, ready: str, log: Path) -> Iterator[float]:
    """A server as a plain process; hands out the seconds until it was ready."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    began = time.perf_counter()
    with log.open("wb") as sink:
        child = subprocess.Popen([str(word) for word in command], env=environ, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        wait_until(lambda: place.answers(ready), lambda: child.poll() is None, lambda: log.read_text(errors="replace"))
        yield time.perf_counter() - began
    finally:
        child.kill()
        child.wait()


def wait_until(is_ready: Callable[[], bool], lives: Callable[[], bool], said: Callable[[], str]) -> None:
    """Wait for a server; looks whether it lives now and then only, since that costs time of its own.

    Raises:
        RuntimeError: it ended or did not get ready.
    """
    began = asked = time.monotonic()
    while not is_ready():
        now = time.monotonic()
        if now - asked > 1:
            asked = now
            if not lives() or now - began > READY_SECONDS:
                raise RuntimeError(f"The server did not get ready: {said()[-2000:]}")
        time.sleep(0.01)


def our_command(sample: Path, place: Place, *flags: object) -> list[object]:
    """Our server in the build environment, as the local engine starts it."""
    files = ["--model", sample / "model", "--adapters", sample / "adapters", "--device-file", sample / "device.json"]
    where = ["--uds", place.socket] if place.socket else ["--host", "127.0.0.1", "--port", place.port]
    return [build_python(), RUNTIME / "serve.py", *files, *where, *flags]


def together(number: int, call: Callable[[int], Answer]) -> tuple[list[Answer], float]:
    """So many answers at the same time, and the seconds until the last one's end."""
    with ThreadPoolExecutor(number) as pool:
        began = time.perf_counter()
        answers = list(pool.map(call, range(number)))
        return answers, time.perf_counter() - began
