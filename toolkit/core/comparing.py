"""Starting a comparison: what `edge run --compare` does before the build program takes over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from toolkit.core.builds import Prepared, Say, Work, data_files, forecast, require_room, start_build, text_rows
from toolkit.core.compare import Choice, parse_choices
from toolkit.core.modelcheck import check_model
from toolkit.core.plan import comparison_steps
from toolkit.core.recipe import Recipe
from toolkit.core.rows import Row
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import DataError

OWN_GENERAL = "general.txt"
"""Text of the samples that nothing here trains or calibrates on."""


def start_comparison(bench: Workbench, prepared: Prepared, text: str, say: Say) -> Run:
    """Compare the choices in `text` on the recipe's first device.

    Raises:
        RecipeError: a choice is unknown, or impossible for the device.
        ModelError: an algorithm does not know the model.
        DataError: the general text is missing, or was calibrated on.
        DiskError, EngineError: as a build.
    """
    recipe, device = prepared.recipe, prepared.devices[0]
    choices = parse_choices(text, recipe, device)
    for choice in choices:
        check_model(prepared.model, choice.recipe.quantize.algorithm, recipe.model.trust_remote_code)
    if len(prepared.devices) > 1:
        say(f"Compared on the first device of the recipe: {device.name}.")
    needed = sum(forecast(prepared.facts, choice.recipe, (device,), ("quantize", "export")) for choice in choices)
    require_room(bench.settings.home, needed)
    general = general_rows(recipe, bench.settings.samples)

    def files() -> Iterator[tuple[str, list[Row]]]:
        yield from ((name, rows) for name, rows in data_files(recipe) if not name.endswith(".train.jsonl"))
        yield "general.jsonl", general

    return start_build(bench, prepared, say, work=Work(f"{recipe.name}-compare", lambda data: _steps(choices, prepared, data), files))


def _steps(choices: tuple[Choice, ...], prepared: Prepared, data: Path) -> list[dict]:
    return comparison_steps(choices, prepared.recipe, prepared.devices[0], prepared.model, data)


def general_rows(recipe: Recipe, samples: Path) -> list[Row]:
    """The general text, none of which any quantizer has looked at.

    Raises:
        DataError: a file is missing, or the same as one that is calibrated on.
    """
    named = [Path(path) for path in recipe.evaluate.general] or [samples / OWN_GENERAL]
    calibrated = {_content(Path(path)) for path in recipe.quantize.calibration}
    for path in named:
        if path.exists() and _content(path) in calibrated:
            raise DataError(f"{path} is calibrated on, so it is not held out.", "Name other text in [evaluate] general.")
    return [row for path in named for row in text_rows(path, recipe.data.text_template, "[evaluate] general")]


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
