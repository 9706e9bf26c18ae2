"""The steps of a build, in order, with their options and inputs: what the build program is told to do.

A step names only what its outcome depends on, so that changing one adapter's data changes only that adapter's steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from toolkit.core.compare import FLOAT, Choice
from toolkit.core.device import MERGED, Device
from toolkit.core.recipe import Adapter, Recipe


def build_steps(recipe: Recipe, devices: Iterable[Device], model: Path, data: Path) -> list[dict]:
    """quantize, fine-tune each adapter, then for each device: export, fit (or fold in and export) and evaluate each adapter."""
    steps = [_quantize(recipe, model, data)]
    steps += [_finetune(recipe, adapter, data) for adapter in recipe.adapters]
    for device in devices:
        steps.append(_export(recipe, device))
        for adapter in recipe.adapters:
            steps += _merged(recipe, device, adapter, data) if carries(recipe, device) == MERGED else [_adapter(device, adapter)]
        steps += [_evaluate(recipe, device, adapter, model, data) for adapter in recipe.adapters]
    return steps


def comparison_steps(choices: Iterable[Choice], recipe: Recipe, device: Device, model: Path, data: Path) -> list[dict]:
    """Weigh the model itself; then quantize, export and weigh each choice. Choices that quantize alike share that step."""
    steps = [_weigh(FLOAT, recipe, device, model, data)]
    for choice in choices:
        quantize = {**_quantize(choice.recipe, model, data), "name": choice.quantizing}
        export = {**_export(choice.recipe, device), "name": f"export-{choice.slug}", "inputs": {"model": {"step": choice.quantizing}}}
        weigh = _weigh(choice.label, recipe, device, model, data, graph=export["name"])
        known = {step["name"] for step in steps}
        steps += [step for step in (quantize, export, {**weigh, "name": f"weigh-{choice.slug}"}) if step["name"] not in known]
    return steps


def _weigh(choice: str, recipe: Recipe, device: Device, model: Path, data: Path, **graph: str) -> dict:
    options = {
        "choice": choice,
        "provider": device.provider,
        "perplexity_rows": recipe.evaluate.perplexity_rows,
        "general_tokens": recipe.evaluate.general_tokens,
        "trust_remote_code": recipe.model.trust_remote_code,
    }
    rows = {f"rows_{adapter.name}": data / f"{adapter.name}.held_out.jsonl" for adapter in recipe.adapters}
    return _step(f"weigh-{choice}", "weigh", options, base=model, general=data / "general.jsonl", **rows, **graph)


def carries(recipe: Recipe, device: Device) -> str:
    """How the device's image carries adapters: switchable or merged."""
    return recipe.export.adapters or device.adapters


def _step(name: str, kind: str, options: dict, **inputs: str | Path) -> dict:
    given = {key: {"path": str(value)} if isinstance(value, Path) else {"step": value} for key, value in inputs.items()}
    return {"name": name, "kind": kind, "options": options, "inputs": given}


def _quantize(recipe: Recipe, model: Path, data: Path) -> dict:
    options = recipe.quantize.model_dump(mode="json", exclude={"calibration", "calibration_own"})
    options |= {"text_template": recipe.data.text_template, "trust_remote_code": recipe.model.trust_remote_code}
    parts = [*recipe.export.int8, *recipe.export.keep]
    if parts and recipe.quantize.algorithm != "none":
        options["keep"] = parts  # what keeps more bits is not rounded to fewer before
    inputs = {"calibration": data / "calibration.jsonl"} if recipe.quantize.algorithm in ("awq", "gptq") else {}
    return _step("quantize", "quantize", options, model=model, **inputs)


def _finetune(recipe: Recipe, adapter: Adapter, data: Path) -> dict:
    options = {**recipe.finetune_of(adapter).model_dump(mode="json"), **recipe.data.model_dump(mode="json"), "adapter": adapter.name}
    options["trust_remote_code"] = recipe.model.trust_remote_code
    inputs = {"train": data / f"{adapter.name}.train.jsonl"}
    if options["patience"]:
        inputs["held_out"] = data / f"{adapter.name}.held_out.jsonl"
    return _step(f"finetune-{adapter.name}", "finetune", options, model="quantize", **inputs)


def _export(recipe: Recipe, device: Device) -> dict:
    targets = sorted({target for adapter in recipe.adapters for target in recipe.finetune_of(adapter).targets})
    everything = any(not recipe.finetune_of(adapter).targets for adapter in recipe.adapters)
    options = {
        "device": device.name,
        "platform": device.platform,
        "provider": device.provider,
        "precision": recipe.export.precision or device.precision,
        "block_size": recipe.quantize.group_size,
        "symmetric": recipe.quantize.symmetric,
        "lm_head": recipe.export.lm_head,
        **_exceptions(recipe),
        "context_length": recipe.export.context_length,
        "targets": [] if everything else targets,
        **({"adapters": MERGED} if carries(recipe, device) == MERGED else {}),
        "trust_remote_code": recipe.model.trust_remote_code,
    }
    return _step(f"export-{device.name}", "export", options, model="quantize")


def _exceptions(recipe: Recipe) -> dict:
    """Parts with more bits; nothing where there are none, so that a recipe without them finds what earlier builds left in the cache."""
    named = {"int8": list(recipe.export.int8), "keep": list(recipe.export.keep)}
    return {name: parts for name, parts in named.items() if parts}


def _adapter(device: Device, adapter: Adapter) -> dict:
    inputs = {"graph": f"export-{device.name}", "adapter": f"finetune-{adapter.name}"}
    return _step(f"adapter-{device.name}-{adapter.name}", "adapter", {"name": adapter.name}, **inputs)


def _merged(recipe: Recipe, device: Device, adapter: Adapter, data: Path) -> list[dict]:
    """Fold the adapter into the model, and export what comes out as a graph of its own."""
    export = _export(recipe, device)
    is_rounded = export["options"]["precision"] == "int4" and recipe.quantize.algorithm != "none"
    options = {
        **recipe.quantize.model_dump(mode="json", include={"bits", "group_size", "symmetric", "calibration_samples", "sequence_length"}),
        "rounds": is_rounded,
        "text_template": recipe.data.text_template,
        "trust_remote_code": recipe.model.trust_remote_code,
    }
    if more_bits := [part for parts in _exceptions(recipe).values() for part in parts]:
        options["keep"] = more_bits
    inputs = {"calibration": data / f"{adapter.name}.train.jsonl"} if is_rounded else {}
    merge = _step(f"merge-{device.name}-{adapter.name}", "merge", options, model="quantize", adapter=f"finetune-{adapter.name}", **inputs)
    graph = {"name": f"merged-{device.name}-{adapter.name}", "options": {**export["options"], "adapter": adapter.name}}
    return [merge, {**export, **graph, "inputs": {"model": {"step": merge["name"]}}}]


def _evaluate(recipe: Recipe, device: Device, adapter: Adapter, model: Path, data: Path) -> dict:
    options = {
        **recipe.evaluate.model_dump(mode="json", exclude={"general", "general_tokens"}),
        "device": device.name,
        "provider": device.provider,
        "adapter": adapter.name,
        "text_template": recipe.data.text_template,
        "trust_remote_code": recipe.model.trust_remote_code,
    }
    fitted = "merged" if carries(recipe, device) == MERGED else "adapter"
    inputs = {"graph": f"export-{device.name}", fitted: f"{fitted}-{device.name}-{adapter.name}"}
    return _step(
        f"evaluate-{device.name}-{adapter.name}",
        "evaluate",
        options,
        base=model,
        held_out=data / f"{adapter.name}.held_out.jsonl",
        **inputs,
    )
