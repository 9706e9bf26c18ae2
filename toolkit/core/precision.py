"""Which precisions can be exported for which devices; a recipe that asks for another is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

from toolkit.core import device as devices
from toolkit.core.device import Device
from toolkit.core.recipe import Recipe
from toolkit.errors import RecipeError

PRECISIONS = {"cpu": ("int4", "int8", "fp32"), "cuda": ("int4", "fp16", "fp32")}
"""By execution provider. The build steps know the same; a test holds both together."""


def precision_of(recipe: Recipe, device: Device) -> str:
    return recipe.export.precision or device.precision


def chosen_devices(folder: Path, recipe: Recipe) -> tuple[Device, ...]:
    """The devices of a recipe, each able to run what the recipe asks for.

    Raises:
        RecipeError: there is no such device, or none of its kernels computes in that precision.
    """
    chosen = tuple(devices.find(folder, name) for name in recipe.devices)
    for device in chosen:
        require_exportable(recipe, device)
    return chosen


def require_exportable(recipe: Recipe, device: Device) -> None:
    """
    Raises:
        RecipeError: the device has no such precision, or parts are to keep more bits than an export in it has.
    """
    precision, known = precision_of(recipe, device), PRECISIONS[device.provider]
    if precision not in known:
        raise RecipeError(
            f"{precision} cannot be exported for the device '{device.name}'.",
            f"On {device.accelerator} there is {', '.join(known)}: set precision in [export], or in {device.name}.toml.",
        )
    with_parts = recipe.export.int8 and precision != "int4" or recipe.export.keep and precision not in ("int4", "int8")
    if with_parts:
        raise RecipeError(
            f"An export in {precision}, as the device '{device.name}' has it, has no parts with more bits.",
            "Leave out int8 and keep in [export], or set precision there.",
        )
