"""How much of a machine the model may take."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from memory import resident_bytes

CPUS = Path("/sys/devices/system/cpu")
MEMORY = Path("/proc/meminfo")
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))


KEPT_FREE = 0.1
"""Part of the memory that is left for what a request needs beside its cache."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the server is told, made whole."""

    max_length: int
    """Prompt and answer of one generation together, in tokens."""
    together: int
    """Generations that may run at once."""
    threads: int = 0
    """0: one for each core."""
    memory: int = 0
    """Bytes that the server may take; 0: nobody said."""
    graphs: int = 1
    """Graphs that share it."""
    cache_tokens: int = 0
    """Of each graph's caches, as reckoned for `memory` from the model's files; 0: nobody did."""

    def tokens(self, bytes_per_token: int) -> int:
        """What the key-value caches of a graph, kept ones included, may hold beside what is in memory already.

        One full one at least, or there were no use in `max_length`; no more than all together can come to need.
        """
        memory = min(self.memory, *_container_limits())
        room = int(memory * (1 - KEPT_FREE)) - resident_bytes() if self.memory else _available_bytes() // 2
        most = min(room // self.graphs // bytes_per_token, self.cache_tokens or sys.maxsize, self.together * self.max_length)
        return max(most, self.max_length)


def _available_bytes() -> int:
    """Memory that nobody uses, as far as this container may take it."""
    lines = MEMORY.read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    return min(available, *(limit - resident_bytes() for limit in _container_limits()))


def _container_limits() -> list[int]:
    """Of memory; the largest number there is where there is none."""
    return [sys.maxsize, *(_limit(path) for path in MEMORY_LIMITS if path.exists())]


def _limit(path: Path) -> int:
    said = path.read_text().strip()
    return int(said) if said.isdecimal() else sys.maxsize


def usable_cores() -> int:
    """Physical cores that this process may use: a second thread on a core takes from the first what it gives."""
    allowed = os.sched_getaffinity(0)
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota() or len(cores)))


def _siblings(cpu: int) -> str:
    try:
        return (CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """CPUs that the container's limit amounts to, rounded up; 0: no limit."""
    new, old = QUOTAS
    try:
        quota, period = (new.read_text() if new.exists() else f"{old.read_text()} 100000").split()
        return -(-int(quota) // int(period)) if int(quota) > 0 else 0
    except (OSError, ValueError):  # "max" is no number
        return 0
