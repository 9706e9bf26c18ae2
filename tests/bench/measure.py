"""What every benchmark shares: findings, interleaved repetitions, children with their peak memory, the machine."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EDGE = str(Path(sys.executable).with_name("edge"))
BUSY_LOAD = 1.0
"""Above this load average before a section, its times are upper bounds."""


class Skipped(Exception):
    """A section cannot be measured on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Options:
    """What was asked on the command line."""

    work: Path
    """A folder for everything the benchmarks write; it goes away."""
    repeat: int = 3
    home: Path | None = None
    """An existing home to repeat a run in, instead of a fresh one."""
    recipe: Path | None = None
    engine: str = "local"


@dataclass(frozen=True)
class Finding:
    """One measured thing."""

    what: str
    reached: str
    goal: str = ""
    is_met: bool | None = None
    """None where no goal was set."""
    how: str = ""


@dataclass(frozen=True)
class Ended:
    """A child process that ended well."""

    seconds: float
    peak_bytes: int
    cpu_seconds: float


def run_child(argv: Sequence[str], environ: Mapping[str, str] | None = None, output: Path | None = None) -> Ended:
    """Run a program to its end, its stdout into a file.

    The peak is the kernel's own count (`ru_maxrss`), never below what this process held when it started the child.
    """
    began = time.monotonic()
    with open(output or os.devnull, "wb") as sink:
        child = subprocess.Popen(list(argv), env=dict(environ or os.environ), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.PIPE)
        assert child.stderr
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if child.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {child.returncode}: {said.decode(errors='replace')[-2000:]}")
    return Ended(seconds, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)


def interleaved(things: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, list[float]]:
    """Each thing's measurements: one round of all, then the next, so that a slow minute slows them alike."""
    taken: dict[str, list[float]] = {name: [] for name in things}
    for number in range(repeat):
        order = list(things.items())
        for name, take in order if number % 2 == 0 else reversed(order):  # neither is always the first
            taken[name].append(take())
    return taken


def spread(values: Sequence[float], unit: str = "s") -> str:
    """`median 0.21 s (min 0.20 s, 3 times)`."""
    return f"median {statistics.median(values):.3g} {unit} (min {min(values):.3g} {unit}, {len(values)} times)"


def overhead(measured: Sequence[float], bare: Sequence[float]) -> float:
    """The median over the rounds of how much longer `measured` took than the `bare` of the same round."""
    return statistics.median(one / other - 1 for one, other in zip(measured, bare, strict=True))


def clean_environ(home: Path, **more: str) -> dict[str, str]:
    """Our environment with nothing of the user's settings in it, and `home` as the toolkit's home."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_")}
    return {**kept, "EDGE_HOME": str(home), "XDG_CONFIG_HOME": str(home / "no-config"), **more}


def machine() -> str:
    """Processor, cores and memory, for people."""
    cpu = Path("/proc/cpuinfo").read_text()
    name = next((line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")), "unknown processor")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores {name}, {memory:.0f} GiB, Python {sys.version.split()[0]}"
