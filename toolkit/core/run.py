"""A Run is a folder. It holds no state of its own: it reads what its writers left."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from toolkit.core import events as ev
from toolkit.core.files import write_json
from toolkit.errors import RunBusy, RunError, RunMissing, RunTooNew

KINDS = ("build", "package", "publish", "export")
ENDINGS = ("finished", "failed", "stopped", "interrupted")
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class StepState:
    """What is known of one step."""

    name: str
    status: str = "waiting"
    """waiting, running, finished, failed."""
    done: float = 0
    total: float | None = None
    unit: str = ""
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)
    """`[done, total]` of each part under way, such as the layers of a push."""
    started_at: float | None = None
    seconds: float | None = None
    cached: bool = False
    error: str = ""
    hint: str = ""
    cause: str = ""


@dataclass(frozen=True)
class RunState:
    """The fold of a run's events; the whole UI is a picture of it."""

    kind: str = ""
    status: str = "requested"
    """requested, running, finished, failed, stopped, interrupted."""
    steps: dict[str, StepState] = field(default_factory=dict)
    artifacts: tuple[ev.ArtifactWritten, ...] = ()
    driver: str = ""
    handle: str = ""
    requested_at: float | None = None
    last_at: float | None = None
    requests: int = 0
    problem: str = ""
    hint: str = ""

    @property
    def has_ending(self) -> bool:
        return self.status in ENDINGS

    @property
    def current(self) -> StepState | None:
        """The step that runs now."""
        return next((step for step in self.steps.values() if step.status == "running"), None)

    @property
    def finished_steps(self) -> int:
        return sum(step.status == "finished" for step in self.steps.values())

    def after(self, event: ev.Event) -> RunState:
        """The state once `event` has happened."""
        return replace(self._with(event), last_at=event.at)

    def _with(self, event: ev.Event) -> RunState:
        match event:
            case ev.RunRequested():
                steps = {name: StepState(name) for name in event.steps}
                return RunState(event.kind, steps=steps, artifacts=self.artifacts, requested_at=event.at, requests=self.requests + 1)
            case ev.RunStarted():
                return replace(self, status="running", driver=event.driver, handle=event.handle)
            case ev.StepStarted():
                return self._step(StepState(event.step, "running", started_at=event.at))
            case ev.StepProgress():
                known = self.steps.get(event.step) or StepState(event.step, "running")
                seen = {"done": event.done, "total": event.total, "unit": event.unit, "message": event.message or known.message}
                measured = {"metrics": {**known.metrics, **event.metrics}, "parts": event.parts or known.parts}
                return self._step(replace(known, **measured, **seen))
            case ev.MachineSampled():
                return self
            case ev.ArtifactWritten():
                others = tuple(a for a in self.artifacts if (a.step, a.path) != (event.step, event.path))
                return replace(self, artifacts=(*others, event))
            case ev.StepFinished():
                known = self.steps.get(event.step) or StepState(event.step)
                facts = {"seconds": event.seconds, "cached": event.cached, "metrics": {**known.metrics, **event.metrics}}
                return self._step(replace(known, status="finished", **facts))
            case ev.StepFailed():
                known = self.steps.get(event.step) or StepState(event.step)
                failed = self._step(replace(known, status="failed", error=event.error, hint=event.hint, cause=event.cause))
                return replace(failed, status="failed", problem=f"{event.step}: {event.error}", hint=event.hint)
            case ev.RunFinished():
                return replace(self, status="finished")
            case ev.RunStopped():
                return self._halted("stopped", "stopped by request")
            case ev.RunInterrupted():
                return self if self.has_ending else self._halted("interrupted", event.reason)
        return self

    def _step(self, step: StepState) -> RunState:
        return replace(self, status="running", steps={**self.steps, step.name: step})

    def _halted(self, status: str, problem: str) -> RunState:
        steps = {n: replace(s, status="waiting") if s.status == "running" else s for n, s in self.steps.items()}
        return replace(self, status=status, steps=steps, problem=problem, hint="Resume the run; finished steps are kept.")


@dataclass(frozen=True)
class Run:
    """One thing asked for, in one folder; its id is the folder's name."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def events_file(self) -> Path:
        return self.folder / ev.EVENTS_FILE

    @cached_property
    def request(self) -> dict:
        """What was asked, as written once at the start.

        Raises:
            RunMissing: there is no request in the folder.
            RunTooNew: a newer version wrote it.
        """
        try:
            request = json.loads((self.folder / "request.json").read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise RunMissing(f"{self.folder} is not a run: it has no request.json.", "List the runs with `edge runs`.") from exc
        except OSError as exc:
            raise RunError(f"{exc.filename} cannot be read: {exc.strerror}.", "Check its owner and its permissions.") from exc
        except ValueError as exc:
            raise self._damaged(str(exc)) from exc
        if not isinstance(request, dict) or not isinstance(request.get("format"), int):
            raise self._damaged("it holds no request")
        written_as = request["format"]
        if written_as > ev.FORMAT:
            raise RunTooNew(
                f"Run {self.id} was written by a newer version (format {written_as}; this one reads up to {ev.FORMAT}).",
                "Upgrade olive-edge-toolkit to open it.",
            )
        if not {"kind", "engine", "recipe", "steps"} <= request.keys():
            raise self._damaged("it is not whole")
        return request

    def _damaged(self, why: str) -> RunError:
        return RunError(
            f"{self.folder / 'request.json'} is damaged: {why}.", "Start the recipe anew; its finished steps come from the cache."
        )

    @property
    def kind(self) -> str:
        return self.request["kind"]

    def append(self, event: ev.Event) -> None:
        ev.append(self.folder, event)

    def state(self) -> RunState:
        """The fold of everything so far."""
        self.request  # noqa: B018  a folder we cannot read must not look empty
        return fold(self.events_file)

    def manifest(self) -> dict:
        """What a finished build left.

        Raises:
            RunError: the run has not finished.
        """
        try:
            return json.loads((self.folder / "manifest.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError) as exc:
            raise RunError(
                f"Run {self.id} has no finished build in it.",
                f"`edge show {self.id}` says how far it is; `edge resume {self.id}` completes it.",
            ) from exc

    @property
    def lock_file(self) -> Path:
        return self.folder / "driver.lock"

    def is_locked(self) -> bool:
        """True while a driver lives: drivers hold an flock that no kill and no reboot can leave behind."""
        try:
            handle = os.open(self.lock_file, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the driver's lock; yields its descriptor, which a driver started inside may inherit.

        Raises:
            RunBusy: somebody drives this run.
        """
        handle = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(handle)
            raise RunBusy(
                f"Run {self.id} is being driven already.", f"Watch it with `edge attach {self.id}` or end it with `edge stop {self.id}`."
            ) from exc
        try:
            yield handle
        finally:
            os.close(handle)


_PROGRESS = b'{"type":"StepProgress"'
_SAMPLE = b'{"type":"MachineSampled"'
_NO_METRICS = b'"metrics":{}'


def fold(path: Path) -> RunState:
    """The state a file of events adds up to."""
    return fold_on(RunState(), path, 0)[0]


def fold_on(state: RunState, path: Path, offset: int) -> tuple[RunState, int]:
    """The state after the whole lines of the file from `offset` on, and where the next look starts.

    Of a series of progress lines only the last is parsed, and the last that measured something: a million of them cost no more
    than being read. Samples of the machine change no state but its time.
    """
    progress, measured, sample = b"", b"", b""
    try:
        source = open(path, "rb")  # noqa: SIM115  closed below
    except FileNotFoundError:
        return state, offset
    with source:
        source.seek(offset)
        for line in source:
            if not line.endswith(b"\n"):
                break  # torn, or being written
            offset += len(line)
            if line.startswith(_SAMPLE):
                sample = line
                continue
            sample = b""
            if line.startswith(_PROGRESS):
                progress = line
                if _NO_METRICS not in line:
                    measured = line
                continue
            state = _folded(_folded(_folded(state, measured), progress), line)
            progress = measured = b""
    return _folded(_folded(_folded(state, measured), progress), sample), offset


def _folded(state: RunState, line: bytes) -> RunState:
    event = ev.from_line(line) if line else None
    return state.after(event) if event else state


def follow(run: Run, is_driven: Callable[[], bool], leave: Callable[[], bool] = lambda: False) -> Iterator[ev.Event]:
    """Every event from the first, then each new one, until the run ends or nothing is left to write it.

    An ending in the backlog followed by a new request is no end: the state is judged once the backlog is read.
    """
    state, rest, offset = RunState(), b"", 0
    while not leave():
        alive = is_driven()  # asked before reading, so the last words of a driver are never missed
        chunk = _read(run.events_file, offset)
        offset += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            event = ev.from_line(line)
            if event:
                state = state.after(event)
                yield event
        if chunk:
            continue
        if state.has_ending or not alive:
            return
        time.sleep(POLL_SECONDS)


def _read(path: Path, offset: int, size: int = 1 << 16) -> bytes:
    try:
        with open(path, "rb") as source:
            source.seek(offset)
            return source.read(size)
    except FileNotFoundError:
        return b""


_ID = re.compile(r"^(\d{4,})-")


def new_run(runs: Path, kind: str, name: str, make_request: Callable[[Path], dict]) -> Run:
    """A fresh, numbered run folder holding its request; nothing of it stays where making the request fails."""
    folder = _numbered_folder(runs, kind, name)
    try:
        write_json(folder / "request.json", {"format": ev.FORMAT, "kind": kind, "id": folder.name, **make_request(folder)})
        ev.make_reserve(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Run(folder)


def _numbered_folder(runs: Path, kind: str, name: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    with open(runs / ".number.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two starts at once get two numbers
        numbers = [int(found[1]) for entry in os.listdir(runs) if (found := _ID.match(entry))]
        folder = runs / f"{max(numbers, default=0) + 1:04d}-{kind}-{name}"
        folder.mkdir()
    return folder


def all_runs(runs: Path) -> list[Run]:
    """The runs there are, oldest first."""
    try:
        names = sorted(os.listdir(runs), key=lambda name: (int(m[1]) if (m := _ID.match(name)) else 0, name))
    except FileNotFoundError:
        return []
    return [Run(runs / name) for name in names if _ID.match(name)]


def find_run(runs: Path, wanted: str) -> Run:
    """The run with this id, number (`7`), or `last`.

    Raises:
        RunMissing: none or several fit.
    """
    known = all_runs(runs)
    if wanted == "last" and known:
        return known[-1]
    exact = [run for run in known if run.id == wanted]
    fitting = exact or [run for run in known if wanted.isdigit() and int(run.id.split("-")[0]) == int(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunMissing(f"'{wanted}' fits {len(fitting)} runs: {', '.join(run.id for run in fitting)}.", "Give the whole id.")
    raise RunMissing(f"There is no run '{wanted}'.", "List the runs with `edge runs`.")
