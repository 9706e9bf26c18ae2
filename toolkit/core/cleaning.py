"""What takes room and can go: ended containers, packaged images, the images we build with, old runs, the cache, parts of models."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core import lifecycle
from toolkit.core.engine import LABEL
from toolkit.core.files import folder_bytes, freed_bytes
from toolkit.core.image_name import HOME, mark_of
from toolkit.core.run import Run
from toolkit.core.sample import NAME as SAMPLE
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing, RunBusy, RunError, ToolkitError


@dataclass(frozen=True)
class Litter:
    """One kind of thing that takes room."""

    kind: str
    """containers, images, runtimes, runs, cache or models."""
    items: tuple[str, ...]
    bytes: int
    remove: Callable[[], None] = field(repr=False, compare=False)


def survey(bench: Workbench) -> list[Litter]:
    """Everything of ours that could go. Only what wears our labels or lies in our folders is ever named."""
    return [*_engine_litter(bench), _ended_runs(bench), _cache(bench), _parts_of_models(bench)]


def _engine_litter(bench: Workbench) -> list[Litter]:
    try:
        engine = bench.image_engine()
        ended = engine.ended_containers(bench.settings.runs)
        mark = mark_of(bench.settings.runs)
        packaged = [image for image in engine.images(f"{LABEL}.kind=image") if image.labels.get(HOME, mark) == mark]
        own = [*engine.images(f"{LABEL}.kind=runtime"), *engine.images(f"{LABEL}.kind=build")]
    except EngineMissing:
        return []

    def untag(images) -> None:
        for image in images:
            for name in image.tags or (image.id,):
                engine.untag(name)

    def images_litter(kind: str, images) -> Litter:
        names = tuple(name for image in images for name in image.tags or (image.id,))
        return Litter(kind, names, sum(image.bytes for image in images), lambda: untag(images))

    containers = Litter("containers", tuple(name for _, name in ended), 0, lambda: [engine.remove_container(i) for i, _ in ended] and None)
    return [containers, images_litter("images", packaged), images_litter("runtimes", own)]


def _is_over(bench: Workbench, run: Run) -> bool:
    """Nobody drives it. A run that cannot be read, or whose engine does not answer, may still be driven."""
    try:
        return not lifecycle.is_driven(bench.engine_of(run), run)
    except ToolkitError:
        return False


def _ended_runs(bench: Workbench) -> Litter:
    ended = [run for run in bench.runs() if _is_over(bench, run)]

    def remove() -> None:
        for run in ended:
            with suppress(RunBusy):  # resumed since we looked
                lifecycle.remove(bench.engine_of(run), run)

    return Litter("runs", tuple(run.id for run in ended), freed_bytes(run.folder for run in ended), remove)


def _cache(bench: Workbench) -> Litter:
    folder = bench.settings.cache
    names = tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()

    def remove() -> None:
        user = next((run for run in bench.runs() if _may_use_cache(bench, run)), None)
        if user:
            raise RunBusy(f"The cache stays: run {user.id} is being driven and may use it.", f"Wait for it, or `edge stop {user.id}`.")
        shutil.rmtree(folder, ignore_errors=True)

    return Litter("cache", names, folder_bytes(folder), remove)


def _parts_of_models(bench: Workbench) -> Litter:
    """Base models whose fetching was cut short and that nobody fetches now. Whole ones stay: runs stand on them.

    The sample is made, not fetched, and whoever makes it tidies up what an earlier maker left.
    """
    found = sorted(bench.settings.models.glob(".*.making"))
    parts = [part for part in found if part.is_dir() and part.name != f".{SAMPLE}.making" and not _is_held(part)]

    def remove() -> None:
        for part in parts:
            if not _is_held(part):
                shutil.rmtree(part, ignore_errors=True)

    return Litter("models", tuple(part.name[1 : -len(".making")] for part in parts), sum(map(folder_bytes, parts)), remove)


def _is_held(folder: Path) -> bool:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def _may_use_cache(bench: Workbench, run: Run) -> bool:
    try:
        return not run.state().has_ending and not _is_over(bench, run)
    except RunError:
        return run.is_locked()  # of a newer version: all that can be seen from outside
