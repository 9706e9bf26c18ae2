"""What is packaged: images of the engine and folders of the local engine, with the runs that made them; and removing them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from toolkit.core import content, lifecycle, packaging
from toolkit.core.engine import LABEL, Image
from toolkit.core.files import folder_bytes
from toolkit.core.image_making import in_common
from toolkit.core.image_name import is_strange, mark_of
from toolkit.core.run import Run, fold
from toolkit.core.untried import UNTRIED
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineError, PublishError, RunError, ToolkitError


@dataclass(frozen=True)
class Packed:
    """A packaged model: an image of the engine, or a folder of the local engine."""

    reference: str
    """Name of the image; id of the packaging run where it is a folder."""
    device: str
    recipe: str
    adapters: tuple[str, ...]
    bytes: int
    identity: str
    """Id of the image; empty: a folder."""
    build: str
    runs: tuple[str, ...] = ()
    """Packaging runs that made this very image, oldest first; none: not made in this home."""
    made_at: float = 0
    """When it was packaged last; 0: not made in this home."""
    names: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    """Diff ids, base first."""
    recipe_sha256: str = ""
    runtime: str = ""
    """Name of the runtime image below it."""
    is_strange: bool = False
    """Another home made it, on the same engine."""
    has_base: bool = True
    """It answers without an adapter too."""
    untried: str = ""
    """Why it was not tried where it was packaged; empty: it was."""

    @property
    def models(self) -> tuple[str, ...]:
        """Whom one can talk to: adapters, and the base as an empty name."""
        return (*([""] if self.has_base else []), *self.adapters)

    @property
    def is_folder(self) -> bool:
        return not self.identity


@dataclass(frozen=True)
class Stock:
    """Everything packaged, this home's first, by device, newest first; and what kept the engine from telling."""

    items: tuple[Packed, ...]
    problem: ToolkitError | None = None

    def find(self, reference: str) -> Packed | None:
        """The one with this name, id, or packaging run."""
        fitting = (item for item in self.items if reference in (item.reference, item.identity, *item.names, *item.runs))
        return next(fitting, None)

    def before(self, item: Packed) -> Packed | None:
        """The image of the same recipe and device that was made last before this one, in this home."""
        same = [other for other in self.items if (other.recipe, other.device, other.is_folder) == (item.recipe, item.device, False)]
        older = [other for other in same if other.identity != item.identity and 0 < other.made_at < item.made_at]
        return max(older, key=lambda other: (other.made_at, other.reference), default=None)


@dataclass(frozen=True)
class _Packaging:
    """What one finished packaging run made."""

    run: Run
    build: str
    made_at: float
    image: str
    """Id of the image; empty: it made a folder."""


def stock(bench: Workbench) -> Stock:
    """What is packaged. An engine that does not answer is told, and what needs none is still listed."""
    made = _packagings(bench)
    items, problem = [_folder(packaging) for packaging in made if not packaging.image], None
    try:
        mark = mark_of(bench.settings.runs)
        items += [_packed(image, made, mark) for image in bench.image_engine().images(f"{LABEL}.kind=image")]
    except EngineError as exc:
        problem = exc
    return Stock(tuple(sorted(items, key=lambda item: (item.is_strange, item.device, -item.made_at, item.reference))), problem)


def _packagings(bench: Workbench) -> list[_Packaging]:
    """Finished packaging runs, oldest first; those that cannot be read are left out, the list of runs names them."""
    found = []
    for run in bench.runs():
        with suppress(RunError, OSError, KeyError):
            if run.kind == "package":
                events = run.events_file.stat()
                found.append(_packaging(run.folder, events.st_size, events.st_mtime_ns))
    return [packaging for packaging in found if packaging]


@lru_cache(maxsize=4096)
def _packaging(folder: Path, size: int, changed: int) -> _Packaging | None:
    """Read once for each state of its events: the list is asked for again and again."""
    run, state = Run(folder), fold(Run(folder).events_file)
    if state.status != "finished":
        return None
    options = run.request["steps"][0]["options"]
    image = next((artifact for artifact in reversed(state.artifacts) if artifact.kind == "image"), None)
    made_at = image.at if image else state.last_at or 0
    return _Packaging(run, options["build"], made_at, f"sha256:{image.sha256}" if image else "")


def _packed(image: Image, made: Sequence[_Packaging], mark: str) -> Packed:
    own = [packaging for packaging in made if packaging.image == image.id]
    marks = {
        key: image.labels.get(f"{LABEL}.{key}", "") for key in ("device", "recipe", "adapters", "run", "recipe.sha256", "runtime", "base")
    }
    names = sorted(image.tags, key=lambda tag: not tag.startswith("edge-toolkit/"))
    return Packed(
        reference=names[0] if names else image.id,
        device=marks["device"],
        recipe=marks["recipe"],
        adapters=tuple(filter(None, marks["adapters"].split(","))),
        bytes=image.bytes,
        identity=image.id,
        build=marks["run"],
        runs=tuple(packaging.run.id for packaging in own),
        made_at=max((packaging.made_at for packaging in own), default=0),
        names=tuple(names),
        layers=image.layers,
        recipe_sha256=marks["recipe.sha256"],
        runtime=marks["runtime"],
        is_strange=is_strange(image, mark, bool(own)),
        has_base=marks["base"] != "no",
        untried=image.labels.get(UNTRIED, ""),
    )


def _folder(packaging_: _Packaging) -> Packed:
    run = packaging_.run
    folder = packaging.content_folder(run)
    return Packed(
        reference=run.id,
        device=run.request["steps"][0]["options"]["device"],
        recipe=run.request["recipe"]["name"],
        adapters=tuple(sorted(content.adapters_in(folder))),
        bytes=folder_bytes(folder),
        identity="",
        build=packaging_.build,
        runs=(run.id,),
        made_at=packaging_.made_at,
        has_base=content.has_base(content.read_config(folder)),
    )


def smoke_answers(bench: Workbench, item: Packed) -> dict[str, str]:
    """What the image answered when it was packaged, by model; nothing where that is not known here."""
    for name in reversed(item.runs):
        with suppress(OSError, ValueError, KeyError, ToolkitError):
            told = json.loads((bench.run(name).folder / "smoke.json").read_text("utf-8"))
            return {str(model): str(answer) for model, answer in told["answers"].items()}
    return {}


@dataclass(frozen=True)
class Removal:
    """What goes with a packaged image."""

    item: Packed
    freed: int
    """Bytes that no other packaged image needs."""
    build_is_here: bool
    """It can be packaged again."""

    @property
    def consequence(self) -> str:
        """What is lost, for people."""
        made_by = f"Made by {', '.join(self.item.runs)}." if self.item.runs else "It was not made in this home."
        if self.item.is_strange:
            made_by = "Another home made it, and loses it."
        again = f"Its build {self.item.build} stays: it can be packaged again."
        gone = f"Its build {self.item.build or '?'} is not here: it cannot be made again here."
        if self.item.is_folder:
            made_by = f"The packaging run {self.item.reference} goes with it."
        others = [name for name in self.item.names if name != self.item.reference]
        names = f"\nIts other names go too: {', '.join(others)}." if others else ""
        return f"{made_by}\n{again if self.build_is_here else gone}{names}"


def removal(bench: Workbench, known: Stock, reference: str) -> Removal:
    """What removing it would mean.

    Raises:
        PublishError: nothing packaged has this name.
        EngineMissing: no engine answers.
    """
    item = known.find(reference)
    if item is None:
        raise known.problem or PublishError(f"There is no packaged image '{reference}'.", "`edge images` lists them.")
    others = [other.layers for other in known.items if other.identity != item.identity]
    return Removal(item, item.bytes if item.is_folder else _unshared(bench, item, others), item.build in [run.id for run in bench.runs()])


def _unshared(bench: Workbench, item: Packed, others: list[tuple[str, ...]]) -> int:
    """Bytes above what it shares with another image; the runtime stays, other packagings need it."""
    engine = bench.image_engine()
    runtime = engine.find(item.runtime) if item.runtime else None
    shared = max((in_common(item.layers, layers) for layers in [*others, runtime.layers if runtime else ()]), default=0)
    return sum(layer.bytes for layer in engine.layers(item.identity)[shared:])


def remove(bench: Workbench, item: Packed) -> None:
    """Remove an image with all its names, or a packaged folder with its run.

    Raises:
        EngineError: it is in use.
        RunBusy: its run is being driven.
    """
    if item.is_folder:
        lifecycle.remove(bench.host_driver(b""), bench.run(item.reference))
        return
    engine = bench.image_engine()
    for name in item.names or (item.identity,):
        engine.untag(name)
