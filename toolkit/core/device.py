"""The device catalogue: what the edge machines are that images are made for."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from toolkit.errors import RecipeError

ACCELERATORS = ("cpu", "cuda12", "cuda13")
SWITCHABLE, MERGED = ADAPTER_WAYS = ("switchable", "merged")
"""How a device carries adapters: beside one graph that takes any of them, or each folded into a graph of its own."""


@dataclass(frozen=True)
class Device:
    name: str
    platform: str
    """linux/amd64 and so on."""
    accelerator: str
    """cpu, cuda12 or cuda13."""
    precision: str
    """Precision of the exported graph where the recipe does not say."""
    memory_mb: int
    """Memory the container may use."""
    cpus: float
    max_length: int
    """Longest conversation in tokens where the recipe does not say."""
    size_budget_mb: int
    """Size the runtime image without a model must stay under."""
    adapters: str = SWITCHABLE
    """switchable or merged, where the recipe does not say. Device files written before there was a choice say nothing."""
    gpu_memory_mb: int = 0
    """Memory of the GPU that the model may use; 0: nobody said."""

    @property
    def provider(self) -> str:
        """ONNX Runtime's execution provider, in the exporter's spelling."""
        return "cpu" if self.accelerator == "cpu" else "cuda"


def catalogue(folder: Path) -> dict[str, Device]:
    """The devices of a folder of TOML files, by name.

    Raises:
        RecipeError: a device file is wrong.
    """
    return {path.stem: _load(path) for path in sorted(folder.glob("*.toml"))}


def find(folder: Path, name: str) -> Device:
    """The device called `name`.

    Raises:
        RecipeError: there is none; names those there are.
    """
    known = catalogue(folder)
    if name not in known:
        raise RecipeError(
            f"Unknown device '{name}'.", f"Known devices: {', '.join(known) or 'none'}; add {folder / (name + '.toml')} for another."
        )
    return known[name]


def _load(path: Path) -> Device:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        device = Device(name=path.stem, **raw)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise RecipeError(f"{path}: {exc}.", "Correct the device file.") from exc
    except TypeError as exc:
        raise _odd_keys(path, set(raw)) from exc
    for key, value, known in (("accelerator", device.accelerator, ACCELERATORS), ("adapters", device.adapters, ADAPTER_WAYS)):
        if value not in known:
            raise RecipeError(f"{path}: unknown {key} '{value}'.", f"One of: {', '.join(known)}.")
    return device


def _odd_keys(path: Path, given: set[str]) -> RecipeError:
    keys = [field for field in fields(Device) if field.name != "name"]
    needed = {field.name for field in keys if field.default is MISSING}
    odd = sorted((needed - given) | (given - {field.name for field in keys}))
    listed = ", ".join(field.name if field.name in needed else f"{field.name} (if you like)" for field in keys)
    return RecipeError(f"{path}: unknown or missing: {', '.join(odd)}.", f"A device file has: {listed}.")
