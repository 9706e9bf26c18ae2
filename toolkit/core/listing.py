"""Runs as rows and as documents, for whoever shows them. A second look reads only what has changed since the first."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import asdict, dataclass, field, replace

from toolkit.core import lifecycle
from toolkit.core.compare import is_comparing, is_comparison, weighed
from toolkit.core.engine import BuildEngine
from toolkit.core.events import EVENTS_FILE
from toolkit.core.files import as_duration, folder_bytes
from toolkit.core.outlook import Taken, outlook, taken_before
from toolkit.core.run import Run, RunState, fold_on
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing, ToolkitError

REWEIGH_SECONDS = 10.0
"""Between two looks at the size of a run that is under way."""


@dataclass(frozen=True)
class Row:
    """One run in a list."""

    id: str
    kind: str
    status: str
    """As of the run; `unreadable` where it cannot be read."""
    progress: str
    """Finished steps of all, and the step under way."""
    age: str
    requested_at: float
    problem: str = ""
    hint: str = ""
    recipe: str = ""
    step: str = ""
    """The step under way."""
    finished_steps: int = 0
    total_steps: int = 0
    share: float | None = None
    eta_seconds: float | None = None
    """As in `Outlook`."""
    is_eta_whole: bool = False
    age_seconds: float | None = None
    seconds: float | None = None
    """How long the steps of an ended run took."""
    bytes: int | None = None
    """Size of its folder; None: not weighed yet."""
    build: str = ""
    """The build that a packaging run packages."""
    image: str = ""
    """The image that a packaging run makes, or that a publishing run pushes."""
    is_comparison: bool = False

    @property
    def is_under_way(self) -> bool:
        return self.status in ("requested", "running")


def fits(row: Row, wanted: str) -> bool:
    """True where every word of `wanted` is in what the row says; after a leading `!`, where not every one is."""
    if wanted.startswith("!"):
        return not wanted[1:].strip() or not fits(row, wanted[1:])
    said = f"{row.id} {row.kind} {row.status} {row.recipe} {row.step} {row.image} {row.problem}".lower()
    return all(word in said for word in wanted.lower().split())


def listed(bench: Workbench) -> list[Row]:
    """Every run there is; one that cannot be read is a row that says so. Runs whose driver is gone are settled."""
    return Roster(bench).rows()


@dataclass
class _Known:
    """What was read of one run, and what it looked like then."""

    run: Run
    request_mark: int | None
    events_mark: tuple[int, int, int] | None = None
    offset: int = 0
    state: RunState = RunState()
    bytes: int | None = None
    weighed_mark: tuple[int, int, int] | None = None
    weighed_at: float = 0.0
    made_row: Row | None = None
    row_mark: tuple | None = None

    def look(self) -> None:
        """Read the events that were written since the last look."""
        mark = _mark(f"{self.run.folder}/{EVENTS_FILE}")
        if mark == self.events_mark:
            return
        if mark is None or self.events_mark is None or mark[0] != self.events_mark[0] or mark[1] < self.offset:
            self.state, self.offset = RunState(), 0
        self.state, self.offset = fold_on(self.state, self.run.events_file, self.offset)
        self.events_mark = mark

    def row(self, taken: Taken, now: float) -> Row:
        """The row of the run; the same again for one that has ended, while its age reads the same."""
        mark = (self.events_mark, self.bytes, _coarse(now - (self.state.requested_at or 0)))
        if mark != self.row_mark or not self.state.has_ending:
            self.made_row, self.row_mark = _row(self, taken, now), mark
        return self.made_row

    def weigh(self) -> bool:
        """Weigh the folder where it has changed; running ones now and then. False: there was nothing to do."""
        is_fresh = time.monotonic() - self.weighed_at < REWEIGH_SECONDS and not self.state.has_ending
        if self.bytes is not None and (self.weighed_mark == self.events_mark or is_fresh):
            return False
        self.bytes, self.weighed_mark, self.weighed_at = folder_bytes(self.run.folder), self.events_mark, time.monotonic()
        return True


@dataclass
class Roster:
    """The list of runs, looked at again and again."""

    bench: Workbench
    looks: int = 0
    """How often it was looked at."""
    seen: list[Row] = field(default_factory=list)
    """At the last look, oldest first."""
    seen_at: float = -1e9
    _known: dict[str, _Known] = field(default_factory=dict)
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def rows(self) -> list[Row]:
        """Every run there is, oldest first."""
        with self._reading:
            self.looks += 1
            self.seen = self._rows()
            self.seen_at = time.monotonic()
            return self.seen

    def recent(self, seconds: float) -> list[Row]:
        """The rows of the last look, where that is not longer ago; else look."""
        return self.seen if time.monotonic() - self.seen_at < seconds else self.rows()

    def weigh(self, seconds: float = 0.2) -> bool:
        """Weigh folders that have changed, the newest runs first, for about so long; True where a row may have changed."""
        until, has_weighed = time.monotonic() + seconds, False
        for known in reversed(list(self._known.values())):
            has_weighed = known.weigh() or has_weighed
            if time.monotonic() > until:
                break
        return has_weighed

    def _rows(self) -> list[Row]:
        engines: dict[str, BuildEngine | EngineMissing] = {}
        runs = self.bench.runs()
        self._known = {run.id: self._known_of(run) for run in runs}
        problems = {run.id: problem for run in runs if (problem := self._looked_at(self._known[run.id], engines))}
        readable = [known for id, known in self._known.items() if id not in problems]
        is_busy = any(not known.state.has_ending for known in readable)
        taken = taken_before((_recipe(known.run), known.state) for known in readable) if is_busy else {}
        now = self.bench.clock()
        return [problems.get(id) or known.row(taken, now) for id, known in self._known.items()]

    def _known_of(self, run: Run) -> _Known:
        """What is known of the run; anew where another run has taken its name."""
        mark = _mark(f"{run.folder}/request.json")
        known = self._known.get(run.id)
        stamp = mark and mark[2]
        return known if known and stamp and known.request_mark == stamp else _Known(run, stamp)

    def _looked_at(self, known: _Known, engines: dict[str, BuildEngine | EngineMissing]) -> Row | None:
        """The row that says that the run cannot be read, if it cannot."""
        try:
            known.run.request  # noqa: B018  a folder we cannot read must not look empty
            known.look()
            if not known.state.has_ending and not known.run.is_locked():
                self._settle(known, engines)
        except (ToolkitError, OSError) as exc:
            return Row(known.run.id, "?", "unreadable", "", "", 0, str(exc), bytes=known.bytes)
        return None

    def _settle(self, known: _Known, engines: dict[str, BuildEngine | EngineMissing]) -> None:
        engine = self._engine_of(known.run, engines)
        try:
            if isinstance(engine, EngineMissing):
                raise engine
            lifecycle.settle(engine, known.run)
            known.look()
        except EngineMissing as exc:
            known.state = _unasked(known.state, exc)
            known.events_mark, known.offset = None, 0  # read anew once the engine can be asked

    def _engine_of(self, run: Run, engines: dict[str, BuildEngine | EngineMissing]) -> BuildEngine | EngineMissing:
        name = run.request["engine"] if run.kind == "build" else "host"
        if name not in engines:
            try:
                engines[name] = self.bench.engine_of(run)
            except EngineMissing as exc:
                engines[name] = exc
        return engines[name]


def _mark(path: str) -> tuple[int, int, int] | None:
    """What tells one content of a file from another without reading it; None where there is no file."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _unasked(state: RunState, why: EngineMissing) -> RunState:
    return replace(state, problem=f"its engine cannot be asked: {why.message}", hint=why.hint)


def _recipe(run: Run) -> str:
    recipe = run.request["recipe"]
    return str(recipe.get("name", "")) if isinstance(recipe, dict) else ""


def _row(known: _Known, taken: Taken, now: float) -> Row:
    run, state = known.run, known.state
    age = _coarse(max(0.0, now - state.requested_at)) if state.requested_at else None
    ahead = outlook(_recipe(run), state, taken, now)
    return Row(
        run.id,
        run.kind,
        state.status,
        _progress(state),
        as_duration(age),
        state.requested_at or 0,
        state.problem,
        state.hint,
        _recipe(run),
        state.current.name if state.current else "",
        state.finished_steps,
        len(state.steps),
        ahead.share,
        ahead.eta_seconds,
        ahead.is_whole,
        age,
        _worked(state) if state.has_ending else None,
        known.bytes,
        *_of_options(run),
        is_comparing(state),
    )


def _worked(state: RunState) -> float:
    """Seconds that its steps took, with the one that was under way when it ended."""
    ended = state.last_at or 0
    return sum(
        step.seconds or (max(ended - step.started_at, 0.0) if step.started_at and step.status != "finished" else 0.0)
        for step in state.steps.values()
    )


def _coarse(age: float) -> float:
    """An age in seconds; from an hour on in whole minutes, so that an old run's row stays the same."""
    return age if age < 3600 else age // 60 * 60


def _of_options(run: Run) -> tuple[str, str]:
    """(build, image) that a packaging or publishing run is about."""
    steps = run.request["steps"]
    options = steps[0].get("options", {}) if run.kind != "build" and steps else {}
    is_image = run.request["engine"] != "local"
    return str(options.get("build", "")), str(options.get("tag") or options.get("image") or "") if is_image else ""


def state_of(bench: Workbench, run: Run) -> RunState:
    """The run's state, settled. Where its engine does not answer it stays as last known, with that as its problem."""
    state = run.state()
    if state.has_ending:
        return state
    try:
        return lifecycle.settle(bench.engine_of(run), run)
    except EngineMissing as exc:
        return _unasked(state, exc)


def _progress(state: RunState) -> str:
    counted = f"{state.finished_steps}/{len(state.steps)}"
    return f"{counted} {state.current.name}" if state.current else counted


def details(run: Run, state: RunState) -> dict:
    """Everything known of a run, as plain values."""
    told = {"id": run.id, "folder": str(run.folder), "request": run.request, "state": asdict(state)}
    steps = run.request["steps"]
    if is_comparison(steps):
        told["comparison"] = [asdict(row) for row in weighed({step["name"]: step for step in steps}, state)]
    return told
