"""Memory of a tree of processes over time, containers included: their processes are the engine's, not ours."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 0.2


class Sampler(threading.Thread):
    """Adds up, every 0.2 s, the memory of the processes under some roots (PSS: a shared page counts once)."""

    def __init__(self, roots: Callable[[], list[int]]) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int]] = []
        """(time, bytes)."""
        self._roots = roots
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(SECONDS):
            self.samples.append((time.time(), sum(map(memory_of, family(self._roots())))))

    def end(self) -> None:
        self._is_over.set()
        self.join()

    def peak(self, since: float = 0.0, until: float = float("inf")) -> int:
        return max((size for at, size in self.samples if since <= at <= until), default=0)


def family(roots: list[int]) -> set[int]:
    """The roots and all that descend from them."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = set(), list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def memory_of(pid: int) -> int:
    """Its proportional share in bytes; its resident size where the kernel tells no share; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return _resident(pid)


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


class Containers:
    """First processes of the containers that the toolkit started after we did; asked for once a second."""

    def __init__(self) -> None:
        self._strangers = set(_container_pids())
        self._pids: list[int] = []
        self._asked = 0.0

    def pids(self) -> list[int]:
        if time.monotonic() - self._asked > 1:
            self._asked = time.monotonic()
            self._pids = [pid for pid in _container_pids() if pid not in self._strangers]
        return self._pids


def _container_pids() -> list[int]:
    listed = subprocess.run(["docker", "ps", "--quiet", "--filter", "label=edge-toolkit.kind"], capture_output=True, text=True)
    if listed.returncode or not listed.stdout.split():
        return []
    shown = subprocess.run(["docker", "inspect", "--format", "{{.State.Pid}}", *listed.stdout.split()], capture_output=True, text=True)
    return [int(pid) for pid in shown.stdout.split() if int(pid)]
