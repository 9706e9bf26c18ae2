"""Quantizers and precisions side by side: each choice is quantized, exported and weighed, and nothing is trained.

A choice is written `ALGORITHM[@GROUP][+PART...]` or `PRECISION[+PART...]`: `awq`, `rtn@64`, `gptq+down_proj+last_layer`, `int8`.
Parts keep 8 bits. What is not written is as in the recipe, so a choice that equals the recipe shares its steps in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from toolkit.core.device import Device
from toolkit.core.precision import PRECISIONS, require_exportable
from toolkit.core.recipe import EXPORT_PARTS, SAMPLE_MODEL, Export, Quantize, Recipe
from toolkit.core.run import RunState
from toolkit.errors import RecipeError

FLOAT = "float"
"""The row of the model itself, in PyTorch."""
ALGORITHMS: tuple[str, ...] = get_args(Quantize.model_fields["algorithm"].annotation)
GROUPS: tuple[int, ...] = get_args(Quantize.model_fields["group_size"].annotation)
OTHER_PRECISIONS = tuple(name for name in get_args(Export.model_fields["precision"].annotation) if name not in ("", "int4"))
SAMPLE_NOTE = (
    "The sample's weights were 4 bit in groups of 32 before they became floats. Rounding in groups of 32 or 16 finds much of that grid again "
    "and looks better than it would on other models; read quality at groups of 64 or 128."
)
_CHOICE = re.compile(r"(?P<name>[a-z0-9]+)(@(?P<group>\d+))?(?P<parts>(\+\w+)*)")


@dataclass(frozen=True)
class Choice:
    """One row of a comparison."""

    label: str
    """As it is written."""
    recipe: Recipe
    """The recipe that it stands for."""
    group: str = ""
    """The group size, where it is written."""
    parts: tuple[str, ...] = ()
    """What keeps 8 bits, where it is written."""

    @property
    def slug(self) -> str:
        """The label as part of a step's name."""
        return re.sub(r"[@+]", "-", self.label)

    @property
    def quantizing(self) -> str:
        """Name of the quantize step; choices that quantize alike share it."""
        algorithm = self.recipe.quantize.algorithm
        parts = () if algorithm == "none" else self.parts
        return "-".join(filter(None, ("quantize", algorithm, self.group, *parts)))


def parse_choices(text: str, recipe: Recipe, device: Device) -> tuple[Choice, ...]:
    """The choices in `awq,rtn@64,int8`.

    Raises:
        RecipeError: one is not known, is written twice, or cannot be exported for the device; says what there is.
    """
    labels = [label.strip() for label in text.split(",") if label.strip()]
    if not labels:
        raise RecipeError("There is nothing to compare.", _known(device))
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise RecipeError(f"'{twice}' is there twice.", "Name each choice once.")
    return tuple(_choice(label, recipe, device) for label in labels)


def _choice(label: str, recipe: Recipe, device: Device) -> Choice:
    found = _CHOICE.fullmatch(label)
    name = found["name"] if found else ""
    if name not in (*ALGORITHMS, *OTHER_PRECISIONS):
        raise RecipeError(f"'{label}' cannot be compared.", _known(device))
    parts = tuple(found["parts"].split("+")[1:])
    if unknown := [part for part in parts if part not in EXPORT_PARTS]:
        raise RecipeError(f"'{label}': unknown part '{unknown[0]}'.", f"There are: {', '.join(EXPORT_PARTS)}.")
    if found["group"] and int(found["group"]) not in GROUPS or found["group"] and name in ("fp16", "fp32"):
        raise RecipeError(f"'{label}': no such group size.", f"4 and 8 bit weights come in groups of {', '.join(map(str, GROUPS))}.")
    if parts and name in OTHER_PRECISIONS:
        raise RecipeError(f"'{label}': an export in {name} has no parts with 8 bits.", "Add parts to an algorithm: awq+down_proj.")
    choice = Choice(label, _recipe_of(recipe, name, found["group"], parts), found["group"] or "", parts)
    require_exportable(choice.recipe, device)
    return choice


def _recipe_of(recipe: Recipe, name: str, group: str | None, parts: tuple[str, ...]) -> Recipe:
    is_algorithm = name in ALGORITHMS
    quantize = recipe.quantize.model_copy(
        update={"algorithm": name if is_algorithm else "none", "group_size": int(group) if group else recipe.quantize.group_size}
    )
    own = {"int8": parts or recipe.export.int8, "precision": "int4"} if is_algorithm else {"int8": (), "precision": name}
    keep = recipe.export.keep if is_algorithm or name == "int8" else ()
    return recipe.model_copy(update={"quantize": quantize, "export": recipe.export.model_copy(update={**own, "keep": keep})})


def _known(device: Device) -> str:
    others = [name for name in OTHER_PRECISIONS if name in PRECISIONS[device.provider]]
    return (
        f"There are {', '.join(ALGORITHMS)} in 4 bit and the precisions {', '.join(others)}; a group size after '@' (rtn@64), "
        "parts that keep 8 bits after '+' (awq+down_proj)."
    )


@dataclass(frozen=True)
class Weighed:
    """What one choice came to."""

    choice: str
    bytes: int | None
    """Of the graph; of the weights where it is the model itself."""
    perplexity: Mapping[str, float] = field(default_factory=dict)
    """By text: `general`, and each adapter's held-out rows."""
    tokens_per_second: float | None = None


def weighed(steps: Mapping[str, Mapping], state: RunState) -> list[Weighed]:
    """The rows of a comparison so far; none where the run is no comparison. `steps` are those asked for, by name."""
    rows = []
    for name, asked in steps.items():
        done = state.steps.get(name)
        if asked.get("kind") == "weigh" and done and done.metrics:
            told = {text.removesuffix(".perplexity"): value for text, value in done.metrics.items() if text.endswith(".perplexity")}
            size = done.metrics.get("graph.bytes", done.metrics.get("model.bytes"))
            rows.append(Weighed(asked["options"]["choice"], size and int(size), told, done.metrics.get("tokens_per_second")))
    return rows


def is_comparison(steps: Iterable[Mapping]) -> bool:
    """The steps of a run are those of a comparison: there is nothing in it to package."""
    return any(step["kind"] == "weigh" for step in steps)


def is_comparing(state: RunState) -> bool:
    """The same of a run whose steps are known by name only."""
    return any(name.startswith("weigh-") for name in state.steps)


def texts_of(rows: Sequence[Weighed]) -> list[str]:
    """The texts that the rows tell of, in order."""
    return list(dict.fromkeys(text for row in rows for text in row.perplexity))


def note_of(recipe: Mapping) -> str:
    """What to know when reading a comparison of this recipe; empty where there is nothing."""
    model = recipe.get("model", {})
    return SAMPLE_NOTE if isinstance(model, Mapping) and model.get("source") == SAMPLE_MODEL else ""
