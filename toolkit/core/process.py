"""Detached processes of this machine: started in their own session, holding the run's lock, findable by pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.core.files import write_json

LOCK_VARIABLE = "EDGE_LOCK_FD"
"""Names the inherited descriptor of the held driver lock."""


def start_detached(argv: Sequence[str], log: Path, environ: Mapping[str, str], keep: Sequence[int] = (), stdin: bytes = b"") -> int:
    """Start a process that outlives us and our terminal; returns its pid. `stdin` reaches it through a pipe, never a file."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            pass_fds=tuple(keep),
            start_new_session=True,
        )
    assert process.stdin
    try:
        process.stdin.write(stdin)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it ended at once; its log says why
    return process.pid


def remember(path: Path, pid: int) -> None:
    write_json(path, {"pid": pid, "started": _start_time(pid)})


def recall(path: Path) -> int | None:
    """The pid in `path`, if that very process still lives."""
    try:
        noted = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    started = _start_time(noted["pid"])
    return noted["pid"] if started is not None and started == noted["started"] else None


def identity() -> str:
    """This process, told from later ones with the same pid."""
    return f"{os.getpid()}:{_start_time(os.getpid())}"


def lives(whose: str) -> bool:
    """True while the process of that `identity` lives."""
    pid, _, started = whose.partition(":")
    return pid.isdigit() and _start_time(int(pid)) == started


def _start_time(pid: int) -> str | None:
    """Start of a process in clock ticks since boot; None where it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def end(pid: int, grace_seconds: float) -> None:
    """Ask the process to end, then kill its session."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        if _start_time(pid) is None:
            return
        time.sleep(0.02)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def oom_kills() -> int:
    """Processes this machine has killed for memory since boot."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
