"""What can be said of a recipe before it is started, with nothing fetched and nothing written: data, model, plan, Olive's configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolkit.core.basemodel import model_here
from toolkit.core.builds import Prepared, contents_of, forecast, report_of
from toolkit.core.dataset import DatasetReport
from toolkit.core.forecast import Forecast, look_ahead
from toolkit.core.memory_estimate import memory_fits, memory_problems
from toolkit.core.modelcheck import ModelFacts, check_model
from toolkit.core.olive_config import olive_configs
from toolkit.core.plan import build_steps
from toolkit.core.precision import chosen_devices
from toolkit.core.recipe import Recipe
from toolkit.core.tokens import TokenCounter, token_counter
from toolkit.core.workbench import Workbench
from toolkit.errors import DataError, ModelError, ToolkitError


class Left(Exception):
    """Nobody waits for the preview any more."""


@dataclass(frozen=True)
class Preview:
    recipe: Recipe
    facts: ModelFacts | None
    """None where the model is not here yet, or is no model."""
    data: dict[str, DatasetReport | DataError]
    """By adapter; the error of a file that cannot be read."""
    forecast: Forecast | None
    """None where the devices or the model forbid a plan."""
    problems: tuple[ToolkitError, ...]
    """What a run must not start with, apart from what the reports hold."""
    notes: tuple[str, ...]
    contents: Mapping[str, str] = field(default_factory=dict)
    """What the run's data files would hold, by name."""

    @property
    def fatal(self) -> int:
        """Kinds of things that forbid a start."""
        reports = [report for report in self.data.values() if isinstance(report, DatasetReport)]
        return len(self.problems) + sum(len(report.fatal) for report in reports)

    @property
    def warnings(self) -> list[str]:
        reports = [report for report in self.data.values() if isinstance(report, DatasetReport)]
        return [str(problem) for report in reports for problem in report.warnings]


def preview(
    bench: Workbench,
    recipe: Recipe,
    tell: Callable[[str, int], None] = lambda adapter, rows: None,
    leave: Callable[[], bool] = lambda: False,
) -> Preview:
    """Look at everything that is here. `tell` hears how many rows of an adapter have been read; `leave` ends it.

    Raises:
        Left: `leave` said so.
    """
    problems: list[ToolkitError] = []
    notes: list[str] = []
    facts, count = _model(bench, recipe, problems, notes)
    data = {}
    for adapter in recipe.adapters:
        counted = _telling(count, adapter.name, tell, leave)
        try:
            data[adapter.name] = report_of(recipe, adapter, counted)
        except DataError as exc:
            data[adapter.name] = exc
            problems.append(exc)
    contents = _contents(recipe, data, problems)
    plan = _plan(bench, recipe, facts, contents, problems)
    return Preview(recipe, facts, data, plan, tuple(problems), tuple(notes), contents)


def planned_anew(bench: Workbench, seen: Preview) -> Preview:
    """The same look with the plan as runs and engines are now; the data is not read again."""
    return replace(seen, forecast=_plan(bench, seen.recipe, seen.facts, dict(seen.contents), []))


def plan_ahead(bench: Workbench, prepared: Prepared) -> Forecast:
    """What a run of a recipe that was looked at will have to do."""

    def room(kinds: set[str]) -> int:
        return forecast(prepared.facts, prepared.recipe, prepared.devices, kinds)

    steps = build_steps(prepared.recipe, prepared.devices, prepared.model, Path("data"))
    return replace(look_ahead(bench, steps, prepared.contents, prepared.model, room), memory=prepared.memory)


def olive_of(bench: Workbench, recipe: Recipe) -> dict[str, dict]:
    """The Olive configuration of each step of a recipe that runs Olive.

    Raises:
        RecipeError: it names an unknown device, or a precision that the device has not.
    """
    chosen = chosen_devices(bench.settings.devices, recipe)
    model = model_here(bench.settings.models, recipe.model)
    steps = build_steps(recipe, chosen, model or Path(recipe.model.source), Path("data"))
    return olive_configs(steps, _model_config(model) if model else None)


def _model_config(model: Path) -> dict | None:
    """config.json of a decoder; None where it says less than a decoder's."""
    try:
        found = json.loads((model / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"hidden_size", "num_attention_heads", "intermediate_size", "model_type"}
    return found if isinstance(found, dict) and needed <= found.keys() else None


def _model(
    bench: Workbench, recipe: Recipe, problems: list[ToolkitError], notes: list[str]
) -> tuple[ModelFacts | None, TokenCounter | None]:
    folder = model_here(bench.settings.models, recipe.model)
    if folder is None and recipe.model.kind == "folder":
        problems.append(ModelError(f"There is no model folder {recipe.model.source}.", "Correct [model] source in the recipe."))
    elif folder is None:
        notes.append(f"{recipe.model.source} is not on this machine; it is fetched at the start. Until then tokens cannot be counted.")
    if folder is None:
        return None, None
    try:
        return check_model(folder, recipe.quantize.algorithm, recipe.model.trust_remote_code), token_counter(folder)
    except ToolkitError as exc:
        problems.append(exc)
        return None, None


def _telling(count: TokenCounter | None, adapter: str, tell: Callable[[str, int], None], leave: Callable[[], bool]) -> TokenCounter | None:
    """The counter, telling how many rows went through it and giving up when it is told to."""
    if count is None:
        return None
    seen = 0

    def counted(texts: Sequence[str]) -> list[int]:
        nonlocal seen
        if leave():
            raise Left
        seen += len(texts)
        tell(adapter, seen)
        return count(texts)

    return counted


def _contents(recipe: Recipe, data: dict[str, DatasetReport | DataError], problems: list[ToolkitError]) -> dict[str, str]:
    if any(isinstance(report, DataError) or report.fatal for report in data.values()):
        return {}
    try:
        return contents_of(recipe)
    except DataError as exc:
        problems.append(exc)
        return {}


def _plan(
    bench: Workbench, recipe: Recipe, facts: ModelFacts | None, contents: dict[str, str], problems: list[ToolkitError]
) -> Forecast | None:
    try:
        chosen = chosen_devices(bench.settings.devices, recipe)
    except ToolkitError as exc:
        problems.append(exc)
        return None
    model = facts.folder if facts else None
    steps = build_steps(recipe, chosen, model or Path(recipe.model.source), Path("data"))
    ahead = look_ahead(bench, steps, contents, model, lambda kinds: forecast(facts, recipe, chosen, kinds) if facts else None)
    memory = memory_fits(facts, recipe, chosen) if facts else ()
    problems += memory_problems(memory)
    return replace(ahead, memory=memory)
