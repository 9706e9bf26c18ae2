"""What can happen in a run, one JSON line each. Standard library only: build images copy this file.

A run's `events.jsonl` is append-only; every writer (the host, the build program, a step) appends whole lines with one
`write` on a file opened with `O_APPEND`, so lines never interleave. A reader must expect a torn last line.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

FORMAT = 1
"""Version of the run folder and of the events in it. A reader refuses folders from a newer version."""

EVENTS_FILE = "events.jsonl"


@dataclass(frozen=True, kw_only=True)
class _Event:
    at: float = field(default_factory=time.time)
    """Seconds since the epoch, by the writer's clock."""
    type: ClassVar[str] = ""


@dataclass(frozen=True, kw_only=True)
class RunRequested(_Event):
    """Somebody asked for this run, or asked again (resume)."""

    run: str
    kind: str
    """build, package, publish or export."""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunStarted(_Event):
    """A driver took the run: a build container, a local build process, or a host process."""

    driver: str
    """docker, local or host."""
    handle: str = ""
    """Container id, or `pid`."""


@dataclass(frozen=True, kw_only=True)
class StepStarted(_Event):
    step: str


@dataclass(frozen=True, kw_only=True)
class StepProgress(_Event):
    """How far a step is. `metrics` holds what it measures on the way, such as loss and learning_rate."""

    step: str
    done: float = 0
    total: float | None = None
    unit: str = ""
    """What `done` counts: layers, steps, bytes, rows."""
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)
    """How far each of its parts is, such as the layers of a push: `[done, total]` by name; total 0: not known yet."""


@dataclass(frozen=True, kw_only=True)
class MachineSampled(_Event):
    """How busy the machine was that does the work; every few seconds, so that curves are there for whoever looks later."""

    cpu: float
    """Share of all processors that was busy: 0 to 1."""
    memory: int
    """Bytes."""
    memory_total: int
    gpu: float | None = None
    """Share of the time that the graphics processors were busy: 0 to 1; None: there is none."""
    gpu_memory: int | None = None
    gpu_memory_total: int | None = None


@dataclass(frozen=True, kw_only=True)
class ArtifactWritten(_Event):
    """A step left something: a folder or file of the run, or an image in the engine."""

    step: str
    kind: str
    """model, adapter, graph, image, report, release or archive."""
    path: str
    """Path relative to the run folder, or an image reference."""
    bytes: int
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class StepFinished(_Event):
    step: str
    seconds: float
    cached: bool = False
    """True where an earlier run had already done exactly this work."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What the step measured, by dotted name, e.g. `adapter.fact_accuracy`."""


@dataclass(frozen=True, kw_only=True)
class StepFailed(_Event):
    step: str
    error: str
    hint: str = ""
    exit_code: int | None = None
    cause: str = ""
    """Name of the error's class where it is one of ours, so that a front end knows which way out to offer."""


@dataclass(frozen=True, kw_only=True)
class RunFinished(_Event):
    """Every step is done."""

    seconds: float = 0


@dataclass(frozen=True, kw_only=True)
class RunStopped(_Event):
    """A person stopped the run."""


@dataclass(frozen=True, kw_only=True)
class RunInterrupted(_Event):
    """The driver went away without an ending: killed, out of memory, engine or machine restarted."""

    exit_code: int | None = None
    out_of_memory: bool = False
    reason: str = ""


Event = (
    RunRequested | RunStarted | StepStarted | StepProgress | MachineSampled | ArtifactWritten | StepFinished | StepFailed
    | RunFinished | RunStopped | RunInterrupted
)  # fmt: skip

_TYPES = {cls.__name__: cls for cls in Event.__args__}
_FIELDS = {name: frozenset(f.name for f in fields(cls)) for name, cls in _TYPES.items()}


def to_line(event: Event) -> str:
    """One JSON object with a `type`, without a line end."""
    return json.dumps({"type": type(event).__name__, **vars(event)}, ensure_ascii=False, separators=(",", ":"))


def from_line(line: str | bytes) -> Event | None:
    """The event of a line; None where the line is torn or of a type this version does not know.

    Fields this version does not know are dropped, so that an older reader follows a newer writer of the same format.
    """
    try:
        raw = json.loads(line)
        name = raw.pop("type")
        known = _FIELDS[name]
        if name == "RunRequested":
            raw["steps"] = tuple(raw.get("steps", ()))
        return _TYPES[name](**{key: value for key, value in raw.items() if key in known})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def append(folder: Path | str, event: Event) -> None:
    """Append one event to the run in `folder`, whole.

    A torn last line (the writer before us died in mid-line) is closed first, so that it spoils no event but its own.
    A full disk may not silence a run's last words: the run's reserve is given up for them.

    Raises:
        OSError: the event could not be written even so.
    """
    path = os.path.join(folder, EVENTS_FILE)
    line = to_line(event).encode() + b"\n"
    try:
        _append_bytes(path, line)
    except OSError:
        if not release_reserve(folder):
            raise
        _append_bytes(path, line)


def note(folder: Path | str, event: Event) -> None:
    """Append an event that may be lost: the reserve of a full disk is not given up for it.

    Raises:
        OSError: it is lost.
    """
    _append_bytes(os.path.join(folder, EVENTS_FILE), to_line(event).encode() + b"\n")


def _append_bytes(path: str, line: bytes) -> None:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # so that a line under way is not taken for a torn one
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        written = os.write(handle, line)
        if written < len(line):
            os.write(handle, line[written:])
    finally:
        os.close(handle)


STOP_FILE = "stop.requested"
"""In a run folder: a person asked the driver to stop. Without it, a SIGTERM came from the engine or the machine."""


def stop_or_interruption(folder: Path | str) -> RunStopped | RunInterrupted:
    """The ending that a driver writes when it is told to end."""
    if os.path.exists(os.path.join(folder, STOP_FILE)):
        return RunStopped()
    return RunInterrupted(exit_code=143, reason="the engine or the machine ended it (SIGTERM)")


RESERVE_FILE = ".reserve"
RESERVE_BYTES = 64 * 1024


def make_reserve(folder: Path | str) -> None:
    """Set aside a little disk in the run folder for the events of a run that fills the disk."""
    with open(os.path.join(folder, RESERVE_FILE), "wb") as reserve:
        reserve.write(os.urandom(RESERVE_BYTES))


def release_reserve(folder: Path | str) -> bool:
    """Give the reserve up; False where there is none."""
    try:
        os.remove(os.path.join(folder, RESERVE_FILE))
    except OSError:
        return False
    return True
