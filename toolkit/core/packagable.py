"""Which finished builds can be packaged, for which devices, under which names and within which memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from toolkit.core import device
from toolkit.core.compare import is_comparison
from toolkit.core.device import Device
from toolkit.core.image_name import ImageName, image_name, mark_of, owners
from toolkit.core.made import devices_in, made_for
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineError, RunError

LEAST_MB, MOST_MB = 64, 1_048_576
"""Bounds of a memory limit."""


@dataclass(frozen=True)
class Packagable:
    """A finished build and one device it made something for."""

    run: str
    recipe: str
    device: str
    adapters: tuple[str, ...]
    memory_mb: int
    """The device's own limit."""
    built_at: float
    name: ImageName
    """What its image would be called."""
    is_merged: bool = False
    """Each adapter is a graph of its own."""


def packagable(bench: Workbench) -> list[Packagable]:
    """Every pair, the newest build first.

    Raises:
        RecipeError: a device file is wrong.
    """
    known, owned, found = device.catalogue(bench.settings.devices), _owners(bench), []
    for run in reversed(bench.runs()):
        with suppress(RunError, OSError, KeyError):
            if run.kind == "build" and not is_comparison(run.request["steps"]):
                found += _of_build(run, known, owned)
    return found


def _of_build(run: Run, known: Mapping[str, Device], owned: Mapping[str, str]) -> Iterator[Packagable]:
    artifacts = run.manifest()["artifacts"]
    built_at = (run.folder / "manifest.json").stat().st_mtime
    recipe, mark = run.request["recipe"]["name"], mark_of(run.folder.parent)
    for name in devices_in(artifacts):
        if name in known and (made := made_for(artifacts, name)):
            adapters = tuple(sorted(made.adapters))
            called = image_name(recipe, name, run.id, mark, owned)
            yield Packagable(run.id, recipe, name, adapters, known[name].memory_mb, built_at, called, made.is_merged)


def _owners(bench: Workbench) -> dict[str, str]:
    """Without an engine no name is taken."""
    try:
        return owners(bench.image_engine())
    except EngineError:
        return {}


def as_memory_mb(text: str) -> int:
    """A memory limit as typed; nothing is 0, the device's own.

    Raises:
        RunError: it is no number, or out of bounds.
    """
    text = text.strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and LEAST_MB <= int(text) <= MOST_MB):
        raise RunError(f"The memory limit is a whole number of MB from {LEAST_MB} to {MOST_MB}.", "Nothing means the device's own.")
    return int(text)
