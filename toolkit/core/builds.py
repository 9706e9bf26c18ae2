"""From a recipe to a build run: check everything first, then write the request, then start."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.core import lifecycle
from toolkit.core.basemodel import model_folder
from toolkit.core.calibration import mixed
from toolkit.core.dataset import DatasetReport, check_dataset
from toolkit.core.device import MERGED, Device
from toolkit.core.files import as_size, free_bytes, sha256_of
from toolkit.core.forecast import missing_image, notes_for
from toolkit.core.kv_budget import MemoryFit
from toolkit.core.memory_estimate import memory_fits, memory_problems
from toolkit.core.modelcheck import ModelFacts, check_model
from toolkit.core.plan import build_steps, carries
from toolkit.core.precision import chosen_devices
from toolkit.core.recipe import Adapter, Recipe, load
from toolkit.core.rows import Row, read_rows, split_rows
from toolkit.core.run import Run, new_run
from toolkit.core.tokens import TokenCounter, token_counter
from toolkit.core.workbench import Workbench
from toolkit.errors import DataError, DiskError, RecipeError, ToolkitError

Say = Callable[[str], None]
MOST_ALIKE = 20
"""Newest builds of a name that are asked whether they are being driven."""


@dataclass(frozen=True)
class Prepared:
    """A recipe with everything about it looked at."""

    recipe: Recipe
    model: Path
    facts: ModelFacts
    reports: dict[str, DatasetReport]
    """By adapter."""
    devices: tuple[Device, ...]
    forecast_bytes: int
    """Room that the run will take at most."""
    contents: dict[str, str]
    """What the run's data files will hold, by name; empty where the data has fatal problems."""
    memory: tuple[MemoryFit, ...] = ()
    """What each device has memory for."""

    @property
    def warnings(self) -> list[str]:
        return [str(problem) for report in self.reports.values() for problem in report.warnings]


def inspect(bench: Workbench, path: Path, say: Say) -> Prepared:
    """Look at the recipe, its devices, model and data; problems of the data are in the reports, the others raise.

    Raises:
        RecipeError, ModelError, DataError, DiskError: with file, line and remedy.
    """
    return inspect_recipe(bench, load(path), say)


def inspect_recipe(bench: Workbench, recipe: Recipe, say: Say) -> Prepared:
    """`inspect` for a recipe that need not be saved."""
    chosen = chosen_devices(bench.settings.devices, recipe)
    model = model_folder(bench, recipe.model, say)
    facts = check_model(model, recipe.quantize.algorithm, recipe.model.trust_remote_code)
    check_targets(recipe, facts)
    count = token_counter(model)
    reports = {adapter.name: report_of(recipe, adapter, count) for adapter in recipe.adapters}
    contents = {} if any(report.fatal for report in reports.values()) else contents_of(recipe)
    memory = memory_fits(facts, recipe, chosen)
    return Prepared(recipe, model, facts, reports, chosen, forecast(facts, recipe, chosen), contents, memory)


def check_targets(recipe: Recipe, facts: ModelFacts) -> None:
    """
    Raises:
        RecipeError: an adapter is to be laid on projections that the model does not have; lists those it has.
    """
    for adapter in recipe.adapters:
        absent = [target for target in recipe.finetune_of(adapter).targets if target not in facts.projections]
        if absent:
            raise RecipeError(
                f"Adapter '{adapter.name}': the model has no projections called {', '.join(absent)}.",
                f"It has: {', '.join(facts.projections)}; set finetune.targets to some of them, or leave it out for all.",
            )


def report_of(recipe: Recipe, adapter: Adapter, count: TokenCounter | None) -> DatasetReport:
    """What the data of one adapter holds. Without a counter, lengths are not looked at.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    held_out = [] if isinstance(adapter.held_out, float) else list(map(Path, adapter.held_out))
    return check_dataset(list(map(Path, adapter.train)), held_out, recipe.data.text_template, count, recipe.data.max_tokens)


def contents_of(recipe: Recipe) -> dict[str, str]:
    """The hash of each data file of a run, as it would be written now.

    Raises:
        DataError: rows cannot be read, split or calibrated on.
    """
    return {name: hashlib.sha256(_lines(rows).encode()).hexdigest() for name, rows in data_files(recipe)}


def data_files(recipe: Recipe) -> Iterator[tuple[str, list[Row]]]:
    """(name, rows) of each data file of a run."""
    first: list[Row] = []
    for adapter in recipe.adapters:
        train, held_out = rows_of(recipe, adapter)
        first = first or train
        yield f"{adapter.name}.train.jsonl", train
        yield f"{adapter.name}.held_out.jsonl", held_out
    template = recipe.data.text_template
    calibration = [row for path in recipe.quantize.calibration for row in text_rows(Path(path), template, "[quantize] calibration")]
    yield "calibration.jsonl", mixed(first, calibration, recipe.quantize.calibration_own)


def prepare(bench: Workbench, path: Path, say: Say) -> Prepared:
    """`inspect`, and raise what a run must not start with.

    Raises:
        DataError: the first fatal problem of the data.
        RecipeError: a device has no memory for what would be made for it.
        DiskError: the run would not fit.
    """
    return require_ready(bench, inspect(bench, path, say))


def require_ready(bench: Workbench, prepared: Prepared) -> Prepared:
    """The same, once nothing forbids a start.

    Raises:
        DataError, RecipeError, DiskError: as `prepare`.
    """
    for report in prepared.reports.values():
        report.require_sound()
    for problem in memory_problems(prepared.memory):
        raise problem
    require_room(bench.settings.home, prepared.forecast_bytes)
    return prepared


BYTES_PER_WEIGHT = {"int4": 0.75, "int8": 1.2, "fp16": 2.1, "fp32": 4.1}
"""Of an exported graph, its tables and unquantized parts spread over all weights."""


KINDS = ("quantize", "finetune", "export", "adapter", "merge", "evaluate")


def forecast(facts: ModelFacts, recipe: Recipe, chosen: Sequence[Device], kinds: Container[str] = KINDS) -> int:
    """Bytes the run will take at most: folded weights in float32, one graph a device while it is made and once packed, adapters, logs;
    for each merged adapter folded weights and a graph of its own.

    `kinds` are those of the steps that run; what comes from the cache takes no room of its own.
    """
    folded = facts.parameters * 4
    graphs = [2 * facts.parameters * BYTES_PER_WEIGHT[recipe.export.precision or device.precision] for device in chosen]
    merged = [graph for graph, device in zip(graphs, chosen, strict=True) if carries(recipe, device) == MERGED]
    exporting = facts.parameters * 4  # the exporter holds the float graph on disk for a while
    adapters = len(recipe.adapters) * (64 + 2 * recipe.finetune.rank) * 1_000_000
    needed = {
        "quantize": folded,
        "export": sum(graphs) + len(recipe.adapters) * sum(merged) + exporting,
        "merge": len(recipe.adapters) * len(merged) * folded,
        "finetune": adapters,
    }
    return int(sum(room for kind, room in needed.items() if kind in kinds) + 50_000_000)


def require_room(home: Path, needed: int) -> None:
    """Raises DiskError where fewer bytes are free than the plan needs."""
    free = free_bytes(home)
    if free < needed:
        raise DiskError(
            f"The plan needs about {as_size(needed)} and {as_size(free)} are free at {home}.",
            "`edge clean` shows what can go, or set EDGE_HOME to a larger disk.",
        )


@dataclass(frozen=True)
class Work:
    """What a build run does with a recipe that was looked at."""

    name: str
    """Of the run, without its number and kind."""
    steps: Callable[[Path], list[dict]]
    """The steps, the data of the run lying in that folder."""
    files: Callable[[], Iterable[tuple[str, list[Row]]]]
    """(name, rows) of each file of that folder."""


def whole_build(prepared: Prepared) -> Work:
    """Every step from the model to evaluated adapters, for each device."""
    recipe = prepared.recipe
    return Work(
        recipe.name,
        lambda data: build_steps(recipe, prepared.devices, prepared.model, data),
        lambda: data_files(recipe),
    )


def start_build(bench: Workbench, prepared: Prepared, say: Say, before: Callable[[], None] = lambda: None, work: Work | None = None) -> Run:
    """Write the run's request and data, and let the engine drive it.

    `before` is called right before the run is made. What it or `say` raises ends everything, and no run is left.
    `work` is the whole build where nothing else is named.

    Raises:
        EngineError: no engine, no build environment, or the build image could not be made.
    """
    engine = bench.build_engine(bench.settings.engine)
    if engine.name == "docker":
        say(bench.flavour().sentence)
    if image := missing_image(bench):
        for line in image.ensure(bench.settings, bench.image_engine()):
            say(line)
    before()
    bench.settings.cache.mkdir(parents=True, exist_ok=True)
    work = work or whole_build(prepared)
    run = new_run(bench.settings.runs, "build", work.name, lambda folder: _request(bench, prepared, work, engine.name, folder))
    lifecycle.start(engine, run)
    return run


def driven_alike(bench: Workbench, recipe: Recipe) -> list[Run]:
    """The builds of a recipe of this name that are being driven now."""
    named = [run for run in bench.runs() if run.id.partition("-")[2] == f"build-{recipe.name}"]
    return [run for run in named[-MOST_ALIKE:] if _is_driven(bench, run)]


def _is_driven(bench: Workbench, run: Run) -> bool:
    try:
        return not run.state().has_ending and lifecycle.is_driven(bench.engine_of(run), run)
    except ToolkitError:
        return False  # one that cannot be read forbids nothing


def _request(bench: Workbench, prepared: Prepared, work: Work, engine: str, folder: Path) -> dict:
    data = folder / "data"
    data.mkdir()
    recipe, contents = prepared.recipe, {}
    for name, rows in work.files():
        (data / name).write_text(_lines(rows), "utf-8")
        contents[name] = sha256_of(data / name)
    steps = work.steps(data)
    return {
        "engine": engine,
        "recipe": recipe.model_dump(mode="json"),
        "model": str(prepared.model),
        "cache": str(bench.settings.cache),
        "forecast_bytes": prepared.forecast_bytes,
        "steps": steps,
        "notes": notes_for(bench, engine, prepared.model, steps, contents),
    }


def rows_of(recipe: Recipe, adapter: Adapter) -> tuple[list[Row], list[Row]]:
    """(training rows, held-out rows) of an adapter."""
    template = recipe.data.text_template
    rows = read_rows(map(Path, adapter.train), template)
    if isinstance(adapter.held_out, float):
        try:
            return split_rows(rows, adapter.held_out, recipe.finetune_of(adapter).seed, template)
        except DataError as exc:
            raise DataError(f"{', '.join(adapter.train)}: {exc.message}", exc.hint) from exc
    return rows, read_rows(map(Path, adapter.held_out), template)


def text_rows(path: Path, template: str, option: str) -> list[Row]:
    """Rows of a file that an option of the recipe names; a text file gives one for each of its paragraphs.

    Raises:
        DataError: it is missing, unreadable, or holds none.
    """
    if path.suffix != ".txt":
        return read_rows([path], template)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {exc.strerror}.", f"Correct {option} in the recipe.") from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line}: byte {exc.start} (0x{exc.object[exc.start]:02x}) is not UTF-8.", "Save the file as UTF-8."
        ) from exc
    rows = [{"text": part.strip()} for part in re.split(r"\n\s*\n", text) if part.strip()]
    if not rows:
        raise DataError(f"{path}: the file holds no text.", f"Write some text into it, or leave it out of {option}.")
    return rows


def _lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
