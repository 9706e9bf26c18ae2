"""One step as a child process: its memory comes back, its death is ours to describe. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cache import read_json
from gpu_trouble import trouble_in

ERROR_FILE = "error.json"
_GRACE_SECONDS = 5.0
"""How long a step may take to end after it was asked to, before it is killed."""
SEE_THE_LOG = "The whole story is in the step's log."
"""The hint of a step that passes on what a library said."""
_NOISE = ("Traceback", "^", "~", "warnings.warn", "During handling", "The above exception")


@dataclass(frozen=True)
class Failure:
    """Why a step failed, in words for people."""

    error: str
    hint: str
    exit_code: int


class Child:
    """A step at work, in a process group of its own, its output copied to the logs."""

    def __init__(self, command: list[str], environment: dict[str, str], logs: list[Path]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, "EDGE_STEP_LIFELINE": "stdin", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self.copying = threading.Thread(target=_copy, args=(self.process.stdout, logs), daemon=True)
        self.copying.start()

    def wait(self) -> int:
        """The exit code once the step has ended; what it started ends with it."""
        code = self.process.wait()
        self._signal(signal.SIGKILL)
        self.copying.join(_GRACE_SECONDS)
        return 128 - code if code < 0 else code

    def end(self) -> None:
        """Ask the whole process group to end, and kill what has not ended in time."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(self.process.pid, number)


def _copy(output: BinaryIO, logs: list[Path]) -> None:
    """Copy `output` to the logs. A log that cannot be written (full disk) is given up; the step is not blocked."""
    files = [os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) for path in logs]
    while chunk := os.read(output.fileno(), 1 << 16):
        for file in files:
            try:
                os.write(file, chunk)
            except OSError:
                continue
    for file in files:
        os.close(file)


def python_command(script: Path, step_file: Path) -> list[str]:
    return [sys.executable, str(script), str(step_file)]


def describe(exit_code: int, step_folder: Path, kind: str = "") -> Failure:
    """What a failed step said of itself; else what became of its GPU; else how it died, or the last line that means something."""
    said = read_json(step_folder / ERROR_FILE) or {}
    error, hint, log = str(said.get("error", "")), str(said.get("hint", "")), step_folder / "log.txt"
    if error and hint not in ("", SEE_THE_LOG):
        return Failure(error, hint, exit_code)
    if trouble := trouble_in(error or _last_traceback(log), kind):
        return Failure(trouble.error, f"{trouble.hint} The whole story is in {log}.", exit_code)
    if error:
        return Failure(error, hint, exit_code)
    if exit_code > 128:
        return Failure(_death(exit_code - 128), f"The last words are in {log}.", exit_code)
    last_line = _last_meaningful_line(log) or f"It ended with exit code {exit_code} and said nothing."
    return Failure(last_line, f"The whole story is in {log}.", exit_code)


def _death(number: int) -> str:
    if number == signal.SIGKILL:
        return "The step was killed (137), often for want of memory."
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"The step died of {name} ({128 + number})."


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
    except OSError:
        return []


def _last_traceback(log: Path) -> str:
    """The log from its last traceback on, for an error that was caught before it is not what ended the step."""
    lines = _last_lines(log)
    starts = [number for number, line in enumerate(lines) if line.startswith(("Traceback", "terminate called"))]
    return "\n".join(lines[starts[-1] :] if starts else lines[-40:])


def _last_meaningful_line(log: Path) -> str:
    meaningful = [line.strip() for line in _last_lines(log) if line.strip() and not line.strip().startswith(_NOISE)]
    return meaningful[-1][:500] if meaningful else ""
