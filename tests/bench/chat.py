"""How far the chat is behind a model that answers fast: the real program in a pty, a real server, a stand-in for the model."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import EDGE, Finding, Options, clean_environ
from tests.cli.desk import NO_ENGINE
from tests.containers.runtime.conftest import RUNTIME, STUB, make_stub_model
from tests.terminal import Terminal
from toolkit.core import events as ev
from toolkit.core.run import new_run

TOKENS = 2000
BEHIND_GOAL = 0.5
"""Seconds from the model's last token to its picture, at 200 tokens/s: a frame, and what a person takes for at once."""
FAST, FULL = 0.004, 0.0
"""A token's time in the stand-in: with what sleeping and the server add, 200 a second; or as fast as it goes."""
FRAME_SLOW = 1.0
LINES = (
    "# Title <nl> - **one** item <nl> - `two` items <nl> <nl> ```python <nl> x = {n} <nl> ``` <nl> <nl> A paragraph number {n} . <nl> <nl>"
)


@dataclass(frozen=True)
class Streamed:
    """One long answer, from the first word on the screen to its figures."""

    behind: float
    """Seconds from the server's last token to the picture of it."""
    seconds: float
    cpu: float
    bytes: int
    speed: str
    """As the server counted it."""


def measure(options: Options) -> list[Finding]:
    alive = options.work / "alive"
    alive.mkdir()
    home = options.work / "home"
    _package(home)
    counting = "count"
    markdown = "say: " + " ".join(LINES.format(n=number) for number in range(80))
    cases = [
        ("200 tokens/s, one long paragraph", counting, FAST, (), BEHIND_GOAL),
        ("200 tokens/s, Markdown", markdown, FAST, (), BEHIND_GOAL),
        ("200 tokens/s, one long paragraph, `--slow`", counting, FAST, ("--slow",), BEHIND_GOAL + FRAME_SLOW),
        ("full speed, one long paragraph", counting, FULL, (), None),
        ("full speed, Markdown", markdown, FULL, (), None),
    ]
    return [_finding(name, _stream(home, alive, question, delay, flags), goal) for name, question, delay, flags, goal in cases]


def _finding(name: str, streamed: Streamed, goal: float | None) -> Finding:
    how = (
        f"{streamed.speed}; {100 * streamed.cpu / streamed.seconds:.0f} % of a CPU; "
        f"{streamed.bytes / streamed.seconds / 1000:.1f} kB/s to the terminal, 80x24"
    )
    met = None if goal is None else streamed.behind <= goal
    return Finding(f"Behind at the end of {TOKENS} tokens, {name}", f"{streamed.behind:.2f} s", f"{goal} s" if goal else "", met, how)


def _package(home: Path) -> None:
    """A finished packaging by the local engine, whose model is the stand-in."""
    step = {"kind": "collect", "inputs": {}, "options": {"engine": "local", "build": "0001-build-travel", "device": "cpu"}}
    asked = {"engine": "local", "recipe": {"name": "travel"}, "steps": [{"name": name, **step} for name in ("collect", "smoke")]}
    run = new_run(home / "runs", "package", "travel", lambda _: asked)
    run.append(ev.RunRequested(run=run.id, kind="package", steps=("collect", "smoke")))
    run.append(ev.RunFinished(seconds=1))
    make_stub_model(run.folder / "content")
    config = {"model": {"context_length": 8000, "eos_token_id": [0]}}
    (run.folder / "content/model/genai_config.json").write_text(json.dumps(config))
    device = {"format": 1, "device": "cpu", "max_length": 8000, "adapters": ["museum", "travel"]}
    (run.folder / "content/device.json").write_text(json.dumps(device))


def _stream(home: Path, alive: Path, question: str, delay: float, flags: tuple[str, ...]) -> Streamed:
    program = {
        "EDGE_ENGINE": "local",
        "EDGE_BUILD_PYTHON": sys.executable,
        "EDGE_CONTAINERS": str(RUNTIME.parent),
        "EDGE_THEME": "dark",
        "DOCKER_HOST": NO_ENGINE,
    }
    stub = {"PYTHONPATH": str(STUB), "STUB_ALIVE": str(alive), "STUB_DELAY": str(delay)}
    environ = clean_environ(home, **program, **stub, TERM="xterm-256color", COLORTERM="truecolor")
    with Terminal([EDGE, *flags], environ) as terminal:
        terminal.wait_for("6 Doctor")
        terminal.press("4")
        terminal.wait_for("+ travel")
        terminal.press("enter")
        terminal.wait_for("[ready]")
        _ask_for_long_answers(terminal)
        with _watched(alive) as ended:
            terminal.paste(question)
            terminal.press("enter")
            began, cpu = terminal.wait_for("[answering]"), _cpu_seconds(terminal.pid)
            painted = terminal.wait_for(lambda text: re.search(r"tokens/s, [\d]+\s+tokens", text), seconds=120)
        told = re.search(r"[\d.]+ tokens/s, \d+\s+tokens", terminal.text)
        assert told
        spent = _cpu_seconds(terminal.pid) - cpu
        return Streamed(painted - ended[0], painted - began, spent, terminal.bytes_since(began, painted), told[0])


def _ask_for_long_answers(terminal: Terminal) -> None:
    terminal.press("escape")
    terminal.wait_for("t Settings")
    terminal.press("t")
    terminal.wait_for("Sampling, and limits")
    terminal.press("tab", "tab", *str(TOKENS), "ctrl+s")
    terminal.wait_for(f"at most {TOKENS} tokens")
    terminal.press("i")
    terminal.wait_for("Enter Send")


@contextmanager
def _watched(alive: Path) -> Iterator[list[float]]:
    """When the model let go of its answer; the stand-in lists answers in the making in a folder."""
    ended: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not any(alive.iterdir()) and not over.wait(0.002):
            pass
        while any(alive.iterdir()) and not over.wait(0.002):
            pass
        ended.append(time.monotonic())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield ended
    finally:
        over.set()
        watching.join()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
