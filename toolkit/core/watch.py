"""Following a run for a screen: pictures of it, few and whole, however many events there are.

`lifecycle.attach` hands out every event; this folds them where they are read, and parses of a long series of progress lines
only those that a curve keeps. It goes on after an ending, for the run may be resumed elsewhere.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from toolkit.core import events as ev
from toolkit.core import lifecycle
from toolkit.core.curves import Curve, Curves
from toolkit.core.engine import BuildEngine
from toolkit.core.run import POLL_SECONDS, Run, RunState
from toolkit.core.wording import as_text
from toolkit.core.workbench import Workbench
from toolkit.errors import RunMissing, ToolkitError

MOMENTS = 2000
"""Notable events kept."""
CHUNK = 1 << 19
ENGINE_SECONDS = 1.0
"""Between two questions to an engine that did not answer."""

_PROGRESS = b'{"type":"StepProgress"'
_SAMPLED = b'{"type":"MachineSampled"'
_NO_METRICS = b'"metrics":{}'


@dataclass(frozen=True)
class Moment:
    """A notable event, in words."""

    at: float
    kind: str
    """Name of the event's type."""
    text: str


@dataclass(frozen=True)
class Picture:
    """All that is known of a run at one moment, bounded in size."""

    run_id: str
    state: RunState = field(default_factory=RunState)
    curves: Mapping[tuple[str, str], Curve] = field(default_factory=dict)
    """(step, metric) -> its curve."""
    machine: Mapping[str, Curve] = field(default_factory=dict)
    """cpu, memory, gpu, gpu_memory, as shares over seconds since the epoch."""
    moments: tuple[Moment, ...] = ()
    read: float = 1.0
    """Share of the events that were there which have been read; below 1 the picture is of the past."""
    is_gone: bool = False
    """The run's folder was deleted."""
    problem: ToolkitError | None = None
    """Why nobody can say whether the run is still driven."""


def watch(watcher: Watcher, tell: Callable[[Picture], None], leave: Callable[[], bool], every: Callable[[], float] = lambda: 0.1) -> None:
    """Tell pictures of a run, at most one in `every()` seconds and only where something changed, until `leave()` or it is gone.

    The same watcher may be watched again later; it goes on where it was.
    """
    told: Picture | None = None
    told_at = -1e9
    with watcher.lock:
        watcher.is_changed = True
        while not leave():
            has_read = watcher.read()
            is_due = time.monotonic() - told_at >= every()
            if watcher.is_changed and is_due and (picture := watcher.picture()) != told:
                told, told_at = picture, time.monotonic()
                tell(picture)
            if watcher.is_gone and not watcher.is_changed:
                return
            if not has_read:
                time.sleep(min(POLL_SECONDS, max(every(), 0.01)))


class Watcher:
    """Reads what is new of one run and keeps the fold of it."""

    def __init__(self, bench: Workbench, run: Run) -> None:
        self._bench, self._run = bench, run
        self.lock = threading.Lock()
        """Held by whoever watches; the next one waits until the one before has left."""
        self._engine: BuildEngine | None = None
        self._ask_again = 0.0
        self.is_gone = False
        self._problem: ToolkitError | None = None
        self._is_at_end = False
        self.is_changed = True
        self._begin()

    def _begin(self) -> None:
        self._offset, self._rest, self._size = 0, b"", 0
        self._state, self._curves = RunState(), Curves()
        self._moments: deque[Moment] = deque(maxlen=MOMENTS)
        self._progress = self._measured = self._sample = b""

    def picture(self) -> Picture:
        """What is known now; the next one is due when something changes."""
        self.is_changed = False
        read = min(self._offset / self._size, 1.0) if self._size else 1.0
        return Picture(
            self._run.id,
            self._state,
            self._curves.of_steps(),
            self._curves.of_machine(),
            tuple(self._moments),
            read,
            self.is_gone,
            self._problem,
        )

    def read(self) -> bool:
        """Take in what is new, a piece at a time; False where there was nothing."""
        is_driven = self._is_driven() if self._is_at_end else None  # asked before reading: the last words of a driver are never missed
        chunk = self._read_chunk()
        self._is_at_end = len(chunk) < CHUNK
        if chunk:
            self._take(chunk)
            self.is_changed = True
            return True
        if not self._run.folder.exists():
            self.is_changed |= not self.is_gone
            self.is_gone = True
        elif is_driven is False and not self._state.has_ending:
            self._settle()
        return False

    def _read_chunk(self) -> bytes:
        try:
            with open(self._run.events_file, "rb") as source:
                self._size = os.fstat(source.fileno()).st_size
                if self._size < self._offset:
                    self._begin()
                source.seek(self._offset)
                chunk = source.read(CHUNK)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        self._offset += len(chunk)
        return chunk

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(_PROGRESS):
                self._take_progress(line)
            elif line.startswith(_SAMPLED):
                self._take_sample(line)
            else:
                self._settle_series()
                self._take_event(line)
        self._settle_series()

    def _take_event(self, line: bytes) -> None:
        event = ev.from_line(line)
        if event is None:
            return
        if isinstance(event, ev.StepStarted):
            self._curves.start(event.step)
        self._state = self._state.after(event)
        if text := as_text(event, self._state):
            self._moments.append(Moment(event.at, type(event).__name__, text))

    def _take_progress(self, line: bytes) -> None:
        self._progress = line
        if _NO_METRICS in line:
            return
        step = self._state.current
        track = self._curves.track(step.name) if step else None
        if track and not track.is_due:
            track.skip()
            self._measured = line
            return
        event = ev.from_line(line)
        if isinstance(event, ev.StepProgress):
            self._measured = b""
            self._curves.add(event)
            self._state = self._state.after(event)

    def _take_sample(self, line: bytes) -> None:
        self._sample = line
        if not self._curves.machine.is_due:
            self._curves.machine.skip()
            return
        if isinstance(event := ev.from_line(line), ev.MachineSampled):
            self._sample = b""
            self._curves.sampled(event)

    def _settle_series(self) -> None:
        """The newest of a series of lines counts, even where no curve keeps it."""
        measured, progress = (ev.from_line(line) if line else None for line in (self._measured, self._progress))
        self._measured = self._progress = b""
        if isinstance(measured, ev.StepProgress):
            self._curves.track(measured.step).ends_with(measured.done, measured.metrics)
            self._state = self._state.after(measured)
        if isinstance(progress, ev.StepProgress):
            self._state = self._state.after(progress)

    def _is_driven(self) -> bool | None:
        """None where the engine that would know does not answer, or was asked a moment ago."""
        if self._state.has_ending or self._run.is_locked():
            self._tell_problem(None)
            return True
        if time.monotonic() < self._ask_again:
            return None
        try:
            self._engine = self._engine or self._bench.engine_of(self._run)
            is_alive = self._engine.is_alive(self._run)
        except RunMissing:
            return None  # deleted; reading finds out
        except ToolkitError as problem:
            self._engine, self._ask_again = None, time.monotonic() + ENGINE_SECONDS
            self._tell_problem(problem)
            return None
        self._tell_problem(None)
        return is_alive

    def _tell_problem(self, problem: ToolkitError | None) -> None:
        if str(problem) != str(self._problem):
            self._problem = problem
            self.is_changed = True

    def _settle(self) -> None:
        """Write the ending of a run that nobody drives; what was asked for a moment ago still gets its time."""
        if self._state.status == "requested" and time.time() - (self._state.requested_at or 0) < lifecycle.GRACE_SECONDS:
            return
        try:
            assert self._engine
            lifecycle.settle(self._engine, self._run, grace_seconds=0)
        except ToolkitError as problem:
            self._tell_problem(problem)
        except OSError:
            pass  # deleted meanwhile, or not ours to write: it stays as it is
