"""How busy this machine is: processor, memory, graphics processors. Standard library only: build images copy this file."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SECONDS = 5.0
"""Between two samples of a run."""
GPU_ANSWER_SECONDS = 3.0
GPU_PAUSE_SECONDS = 60.0
"""A graphics driver that failed to answer is left alone for so long."""


@dataclass(frozen=True)
class Sample:
    """The machine at one moment. In a container with a memory limit, memory is the container's."""

    cpu: float
    """Share of all processors that was busy since the last sample: 0 to 1."""
    memory: int
    """Bytes in use that could not be given to somebody else."""
    memory_total: int
    gpu: float | None = None
    """Share of the time that the graphics processors were busy, all together: 0 to 1; None: there is none."""
    gpu_memory: int | None = None
    gpu_memory_total: int | None = None


class Sampler:
    """Takes samples; keeps what the next one is held against."""

    def __init__(self, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc, self._cgroup = proc, cgroup
        self._times = _processor_times(proc)
        self._cpu = 0.0
        self._gpu_tool = shutil.which("nvidia-smi")
        self._gpu_again = 0.0

    def sample(self) -> Sample:
        """The machine now."""
        used, total = _memory(self._proc, self._cgroup)
        return Sample(self._busy_share(), used, total, **self._gpu_figures())

    def _busy_share(self) -> float:
        before, self._times = self._times, _processor_times(self._proc)
        busy, whole = self._times[0] - before[0], self._times[1] - before[1]
        if whole > 0:
            self._cpu = round(min(max(busy / whole, 0.0), 1.0), 3)
        return self._cpu

    def _gpu_figures(self) -> dict[str, float | int]:
        if not self._gpu_tool or time.monotonic() < self._gpu_again:
            return {}
        figures = gpu_figures(self._gpu_tool)
        if not figures:
            self._gpu_again = time.monotonic() + GPU_PAUSE_SECONDS
        return figures


def gpu_figures(tool: str) -> dict[str, float | int]:
    """gpu, gpu_memory and gpu_memory_total, all processors together; empty where the driver does not say."""
    asked = [tool, "--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        rows = [[float(cell) for cell in line.split(",")] for line in answer_of(asked, GPU_ANSWER_SECONDS).splitlines() if line.strip()]
        busy, used, total = (sum(column) for column in zip(*rows, strict=True))
    except (OSError, subprocess.SubprocessError, ValueError):  # not there, hangs, or says [N/A]
        return {}
    mib = 1 << 20
    return {"gpu": round(busy / len(rows) / 100, 3), "gpu_memory": int(used * mib), "gpu_memory_total": int(total * mib)}


def answer_of(argv: Sequence[str], seconds: float) -> str:
    """What a program prints. One that hangs is killed and not waited for: in a broken driver it would not even die.

    Raises:
        OSError: it cannot be started.
        subprocess.SubprocessError: it failed, or gave no answer in time.
    """
    process = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said, complained = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(argv), said, complained)
    return said


def _processor_times(proc: Path) -> tuple[int, int]:
    """(busy, all) clock ticks of all processors since boot."""
    try:
        with open(proc / "stat", "rb") as stat:
            ticks = [int(cell) for cell in stat.readline().split()[1:9]]  # guest times are part of user times
    except (OSError, ValueError):
        return 0, 0
    waiting = sum(ticks[3:5])  # idle, and idle until a disk answers
    return sum(ticks) - waiting, sum(ticks)


def _memory(proc: Path, cgroup: Path) -> tuple[int, int]:
    """(used, all) bytes: of the limited group of processes we are in, else of the machine."""
    free, total = _machine_memory(proc)
    for folder, limit_name, used_name, idle_key in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None and limit < total:
            return max(used - _figures(folder / "memory.stat").get(idle_key, 0), 0), limit
    return total - free, total


def _machine_memory(proc: Path) -> tuple[int, int]:
    figures = _figures(proc / "meminfo")
    return figures.get("MemAvailable:", 0) * 1024, figures.get("MemTotal:", 0) * 1024


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, such as `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _figures(path: Path) -> dict[str, int]:
    """The lines `name number` of a file."""
    try:
        cells = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in cells if len(row) > 1 and row[1].isdigit()}


class Recorder:
    """Tells a sample every few seconds from a thread of its own; once stopped, nothing more is told."""

    def __init__(self, tell: Callable[[Sample], None], seconds: float = SECONDS) -> None:
        self._tell, self._seconds = tell, seconds
        self._stopped = threading.Event()
        self._telling = threading.Lock()
        threading.Thread(target=self._record, daemon=True, name="machine").start()

    def stop(self) -> None:
        """Waits for no more than a line being written."""
        with self._telling:
            self._stopped.set()

    def _record(self) -> None:
        sampler = Sampler()
        while not self._stopped.wait(self._seconds):
            sample = sampler.sample()
            with self._telling, suppress(OSError):  # a sample lost to a full disk is no harm
                if not self._stopped.is_set():
                    self._tell(sample)
