"""What a packaged model came from, as facts: recipe, data, base model, measurements, tools. No clock in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from toolkit.core.files import sha256_of

RECIPE_TEXT = "recipe.text"
"""The whole recipe as sorted JSON, whose sha256 is `recipe.sha256`."""
MEASURED = ("perplexity", "fact_accuracy")
MODELS = ("adapter", "base", "graph")
"""What was measured: with the adapter; the base as it was; the base as exported."""
TOOLKIT = "olive-edge-toolkit"

Facts = dict[str, str]
"""Values by name, the most telling first; none depends on how fast a machine was."""


def facts_of_build(build: Path, recipe: Mapping, device: str) -> Facts:
    """What is known of the build in that folder; what it did not record is left out."""
    manifest = _read(build / "manifest.json")
    model, inputs = recipe.get("model", {}), manifest.get("inputs", {})
    text, files = recipe_text(recipe), _datasets(build, inputs)
    told = {
        "recipe": recipe["name"],
        "recipe.sha256": hashlib.sha256(text.encode()).hexdigest(),
        "dataset.sha256": _dataset_digest(files),
        "base_model": model.get("source", ""),
        "base_model.revision": model.get("revision", ""),
        "base_model.sha256": inputs.get("model", ""),
        "run.build": build.name,
        "device": device,
        **_tools(manifest.get("tools", {})),
        **_measured(manifest.get("metrics", {}), device),
        **{f"dataset.{name.removesuffix('.jsonl')}": sha for name, sha in files.items()},
    }
    return {name: str(value) for name, value in told.items() if value}


def recipe_text(recipe: Mapping) -> str:
    return json.dumps(recipe, sort_keys=True)


def speeds_of_build(build: Path, device: str) -> Facts:
    """Tokens a second by adapter, as the build measured them. Not for an image: the same content may be made on another day."""
    metrics = _read(build / "manifest.json").get("metrics", {})
    found = {name: step.get("tokens_per_second.adapter") for name, step in _evaluations(metrics, device).items()}
    return {f"metric.{name}.tokens_per_second": f"{rate:.1f}" for name, rate in found.items() if rate}


def _datasets(build: Path, inputs: Mapping[str, str]) -> dict[str, str]:
    """The hash of each data file by its name; read from the run's folder where the build did not record it."""
    return {path.name: inputs.get(f"data/{path.name}") or sha256_of(path) for path in sorted((build / "data").glob("*.jsonl"))}


def _dataset_digest(files: Mapping[str, str]) -> str:
    """One hash of them all: that of what `sha256sum *.jsonl` prints in the run's data folder."""
    return hashlib.sha256("".join(f"{sha}  {name}\n" for name, sha in files.items()).encode()).hexdigest() if files else ""


def _evaluations(metrics: Mapping[str, Mapping[str, float]], device: str) -> dict[str, Mapping[str, float]]:
    """What the device's evaluations measured, by adapter."""
    prefix = f"evaluate-{device}-"
    return {step.removeprefix(prefix): values for step, values in metrics.items() if step.startswith(prefix)}


def _measured(metrics: Mapping[str, Mapping[str, float]], device: str) -> Facts:
    found = _evaluations(metrics, device)
    return {
        f"metric.{adapter}.{measure if model == 'adapter' else f'{model}.{measure}'}": f"{values[f'{model}.{measure}']:.6g}"
        for model in MODELS
        for measure in MEASURED
        for adapter, values in found.items()
        if f"{model}.{measure}" in values
    }


def _tools(recorded: Mapping[str, str]) -> Facts:
    """Versions as the build recorded them, and ours."""
    try:
        own = {TOOLKIT: version(TOOLKIT)}
    except PackageNotFoundError:
        own = {}
    return {f"tool.{name}": number for name, number in {**own, **recorded}.items()}


def _read(path: Path) -> dict:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def named(facts: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The facts under names of a house: `edge` for a store of models, `edge-toolkit` for images."""
    return {f"{prefix}.{name}": value for name, value in facts.items()}
