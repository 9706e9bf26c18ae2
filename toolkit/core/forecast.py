"""What a run will have to do: which steps come from the cache, how long the others took before, and the room they need.

Only the build program knows a step's key in the cache, for it depends on versions inside its environment. So each request
notes, for each step, a key of our own: the same things seen from outside (kind, options, content of the data, the model's
files, keys of the steps before it, the environment). A step with the same key as a step of an earlier run is in the cache
where that step's entry still is, whole. A step that differs from all earlier ones has to run. What lies between is said to be unknown,
such as the same step asked for in another environment, or any other step while the cache holds some of runs that are gone.
What was learnt of runs is kept beside the cache, so that deleting a run forgets nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from toolkit.core.explain import explain
from toolkit.core.files import as_duration, free_bytes, write_json
from toolkit.core.flavour import Choice
from toolkit.core.images import OwnImage
from toolkit.core.kv_budget import MemoryFit
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.settings import Settings

CACHED, RUNS, UNKNOWN = "cached", "run", "unknown"
STATES = {CACHED: "from cache", RUNS: "runs", UNKNOWN: "maybe cached"}
MEMORY_FILE = "steps.json"
"""In the cache: what finished steps of all runs were asked for, where they lie, how long they took."""
IMAGE_NOTES = {
    "cpu": "The build image is built first: once, a few minutes, about 2 GB.",
    "cuda12": "The build image for CUDA 12 is built first: once, about ten minutes, 9 GB and 18 GB more while it is made.",
    "cuda13": "The build image for CUDA 13 is built first: once.",
}
LOOKED_AT = 200
"""Newest builds whose steps are learnt from."""

Room = Callable[[set[str]], int | None]


@dataclass(frozen=True)
class StepForecast:
    """What one step will have to do."""

    name: str
    kind: str
    state: str
    """cached, run or unknown."""
    seconds: float | None
    """What it took before; None where no earlier run tells."""
    basis: str
    """Where `seconds` comes from, or why the state is unknown."""
    about: str = ""
    """What the step does, for people."""


@dataclass(frozen=True)
class Forecast:
    """What a run will have to do."""

    steps: tuple[StepForecast, ...]
    needed_bytes: int | None
    """None where the model is not here yet."""
    free_bytes: int
    notes: tuple[str, ...] = ()
    memory: tuple[MemoryFit, ...] = ()
    """What each device has memory for, by what is known before anything is built."""

    @property
    def to_run(self) -> tuple[StepForecast, ...]:
        return tuple(step for step in self.steps if step.state != CACHED)

    @property
    def seconds(self) -> float | None:
        """For all steps that run; None where nothing is known of any of them."""
        known = [step.seconds for step in self.to_run if step.seconds is not None]
        return sum(known) if known or not self.to_run else None

    @property
    def summary(self) -> str:
        """In one line: `3 of 8 steps run, about 2 min 10 s; 5 come from the cache`."""
        cached = len(self.steps) - len(self.to_run)
        if not self.to_run:
            return f"all {cached} steps come from the cache"
        untold = sum(step.seconds is None for step in self.to_run)
        unsure = sum(step.state == UNKNOWN for step in self.to_run)
        time = "no earlier run tells how long" if self.seconds is None else f"about {as_duration(self.seconds)}"
        if untold and self.seconds is not None:
            time += f" and {untold} steps that no earlier run tells of"
        return "".join([
            f"{len(self.to_run)} of {len(self.steps)} steps run, {time}",
            f"; {cached} come from the cache" if cached else "",
            f"; {unsure} of them may come from the cache" if unsure else "",
        ])  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A finished step of an earlier run."""

    kind: str
    alike: str
    """Hash of kind and options, for times."""
    asked: str
    """Our key without model and environment; empty in runs that noted none."""
    key: str
    """Our key; empty likewise."""
    entry: str
    """The build program's key: the name of its folder in the cache."""
    seconds: float | None
    """None where it came from the cache itself."""


def keys_of(steps: Iterable[dict], contents: Mapping[str, str], model: str, environment: str) -> dict[str, tuple[str, str]]:
    """(our key, our key without model and environment) of each step.

    `contents` says what each input file holds, by its name in the run's data folder.
    """
    found: dict[str, tuple[str, str]] = {}
    for step in steps:
        common = [step["kind"], step["options"]]
        files = {name: contents.get(Path(at["path"]).name, "model") for name, at in step["inputs"].items() if "path" in at}
        before = {name: found[at["step"]] for name, at in step["inputs"].items() if "step" in at}
        whole = [*common, files, {name: key for name, (key, _) in before.items()}, model, environment]
        asked = [*common, files, {name: key for name, (_, key) in before.items()}]
        found[step["name"]] = (_digest(whole), _digest(asked))
    return found


def notes_for(bench: Workbench, engine: str, model: Path, steps: Iterable[dict], contents: Mapping[str, str]) -> dict:
    """What a request notes, so that later runs can be held against it."""
    environment = environment_of(bench.settings, engine, bench.flavour)
    return {"keys": keys_of(steps, contents, stamp_of(model), environment) if environment else {}}


def stamp_of(model: Path) -> str:
    """One hash of the files of a model as they lie there: name, size, time, inode. The build program reads none of them again either."""
    seen = []
    for folder, folders, names in os.walk(model):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            stat = os.stat(os.path.join(folder, name))
            seen.append([os.path.relpath(os.path.join(folder, name), model), stat.st_size, stat.st_mtime_ns, stat.st_ino])
    return _digest([str(model), seen])


def environment_of(settings: Settings, engine: str, flavour: Callable[[], Choice]) -> str:
    """One hash of what the steps run in; empty where it cannot be told from outside (an image named by the person)."""
    if engine == "docker":
        return "" if settings.build_image else OwnImage("build", flavour().flavour).tag(settings)
    return _digest(list(_local_environment(settings)))


def _local_environment(settings: Settings) -> Iterator[list]:
    """The interpreter, the distributions beside it, and the program."""
    python = settings.build_python
    for path in (python.resolve(), python.parent.parent / "pyvenv.cfg"):
        stat = path.stat() if path.exists() else None
        yield [str(path), stat and stat.st_size, stat and stat.st_mtime_ns]
    searched = [str(path) for path in sorted(python.parent.parent.glob("lib/python*/site-packages"))]
    for folder in [*searched, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]:
        yield [folder, sorted(n for n in _names(folder) if n.endswith((".dist-info", ".egg-info")))]
    sources = sorted(path for path in (settings.containers / "build").rglob("*.py") if "__pycache__" not in path.parts)
    for path in [*sources, Path(__file__).with_name("events.py")]:
        yield [path.name, hashlib.sha256(path.read_bytes()).hexdigest()]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def look_ahead(bench: Workbench, steps: list[dict], contents: Mapping[str, str], model: Path | None, room: Room) -> Forecast:
    """What a run of these steps will have to do. Without contents or model, what is cached cannot be told.

    `room` says how many bytes the steps of some kinds take.
    """
    settings, notes = bench.settings, []
    environment = _environment(bench, notes) if model and contents else ""
    keys = keys_of(steps, contents, stamp_of(model), environment) if model and environment else {}
    known = learnt(settings, bench.runs())
    told = tuple(_forecast(step, keys.get(step["name"]), known, settings.cache) for step in steps)
    lost = _entries(settings.cache) - {one.entry for one in known}
    if lost and any(step.state == RUNS for step in told):
        notes.append(f"The cache holds {len(lost)} steps of runs that are gone; these here may be among them.")
        told = tuple(replace(step, state=UNKNOWN) if step.state == RUNS else step for step in told)
    notes += _image_note(bench)
    needed = room({step.kind for step in told if step.state != CACHED})
    return Forecast(told, needed, free_bytes(settings.home), tuple(notes))


def missing_image(bench: Workbench) -> OwnImage | None:
    """The build image, where the engine needs ours and does not have it yet.

    Raises:
        EngineMissing: the engine does not answer.
        EngineError: the chosen flavour cannot run here.
    """
    if bench.settings.build_image or bench.build_engine(bench.settings.engine).name != "docker":
        return None
    image = OwnImage("build", bench.flavour().flavour)
    return None if bench.image_engine().find(image.tag(bench.settings)) else image


def _image_note(bench: Workbench) -> list[str]:
    try:
        image = missing_image(bench)
        return [IMAGE_NOTES[image.flavour]] if image else []
    except (ToolkitError, OSError):
        return []  # the environment's note says so


def _environment(bench: Workbench, notes: list[str]) -> str:
    try:
        return environment_of(bench.settings, bench.build_engine(bench.settings.engine).name, bench.flavour)
    except (ToolkitError, OSError) as exc:
        notes.append(f"What is cached cannot be told: {exc}")
        return ""


def _entries(cache: Path) -> set[str]:
    """The names of all entries of the cache."""
    return {path.parent.name for path in cache.glob("*/*/key.json")}


def _forecast(step: dict, keys: tuple[str, str] | None, known: list[Known], cache: Path) -> StepForecast:
    alike = [one for one in known if one.alike == alike_of(step)]
    key, asked = keys or ("", "")
    same = [one for one in alike if key and one.key == key]
    tell = partial(StepForecast, step["name"], step["kind"], about=explain(step["kind"], step["options"]))
    if any(is_cached(cache, one.entry) for one in same):
        return tell(CACHED, 0.0, "")
    seconds, basis = _time(step, alike, known)
    maybe = [one for one in alike if not asked or one.asked in ("", asked)]
    if any(is_cached(cache, one.entry) for one in maybe):
        return tell(UNKNOWN, seconds, basis)
    return tell(RUNS, seconds, basis)


def _time(step: dict, alike: list[Known], known: list[Known]) -> tuple[float | None, str]:
    """The median of what such steps took, and which those were."""
    times = [one.seconds for one in alike if one.seconds is not None]
    basis = f"as before, {_times(len(times))}"
    if not times:
        times = [one.seconds for one in known if one.kind == step["kind"] and one.seconds is not None]
        basis = f"other options, {_times(len(times))}"
    return (statistics.median(times), basis) if times else (None, "no earlier run")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def alike_of(step: dict) -> str:
    return _digest([step["kind"], step["options"]])


def is_cached(cache: Path, entry: str) -> bool:
    """True where the build program would find this entry whole."""
    return any(_is_whole(folder) for folder in cache.glob(f"*/{entry}")) if entry else False


def _is_whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / "key.json").read_text("utf-8"))["files"]
        return bool(files) and all((folder / "out" / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def learnt(settings: Settings, runs: Iterable[Run]) -> list[Known]:
    """The finished steps of all builds, those of deleted runs too; what is new is remembered."""
    path = settings.cache / MEMORY_FILE
    remembered = _remembered(path)
    new = {}
    for run in [run for run in runs if "-build-" in run.id][-LOOKED_AT:]:
        name, stamp = _birth(run), _stamp(run.events_file)
        if stamp and remembered.get(name, {}).get("stamp") != stamp:
            new[name] = {"stamp": stamp, "steps": [asdict(one) for one in _steps_of(run)]}
    if new:
        remembered |= new
        _remember(path, remembered)
    return [Known(**step) for run in remembered.values() for step in run["steps"]]


def _birth(run: Run) -> str:
    """The run by its first event, since a number is given again once its run is deleted."""
    try:
        with open(run.events_file, "rb") as source:
            return f"{run.id} {hashlib.sha256(source.readline()).hexdigest()[:16]}"
    except OSError:
        return run.id


def _remembered(path: Path) -> dict:
    try:
        found = json.loads(path.read_text("utf-8"))
        [Known(**step) for run in found.values() for step in run["steps"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return found


def _remember(path: Path, value: dict) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, value)
    except OSError:
        return  # the next forecast looks again


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def _steps_of(run: Run) -> Iterator[Known]:
    try:
        request, state = run.request, run.state()
    except (ToolkitError, OSError):
        return
    keys = (request.get("notes") or {}).get("keys") or {}
    for step in request["steps"]:
        done = state.steps.get(step["name"])
        if done is None or done.status != "finished":
            continue
        key, asked = keys.get(step["name"]) or ("", "")
        yield Known(step["kind"], alike_of(step), asked, key, _entry(run, step["name"]), None if done.cached else done.seconds)


def _entry(run: Run, step: str) -> str:
    try:
        return str(json.loads((run.folder / "steps" / step / "done").read_text("utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
