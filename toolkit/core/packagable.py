"""Which finished builds can be packaged, and for which devices."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from toolkit.core import device
from toolkit.core.workbench import Workbench
from toolkit.errors import RunError


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


def packagable(bench: Workbench) -> list[Packagable]:
    """Every pair, the newest build first.

    Raises:
        RecipeError: a device file is wrong.
    """
    known = device.catalogue(bench.settings.devices)
    found = []
    for run in reversed(bench.runs()):
        with suppress(RunError, OSError, KeyError):
            if run.kind != "build":
                continue
            made = [artifact["step"] for artifact in run.manifest()["artifacts"]]
            built_at = (run.folder / "manifest.json").stat().st_mtime
            for name in (step.removeprefix("export-") for step in made if step.startswith("export-")):
                if name in known:
                    adapters = tuple(step.removeprefix(f"adapter-{name}-") for step in made if step.startswith(f"adapter-{name}-"))
                    found.append(Packagable(run.id, run.request["recipe"]["name"], name, adapters, known[name].memory_mb, built_at))
    return found
