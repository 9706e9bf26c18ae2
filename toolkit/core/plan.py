"""The steps of a build, in order, with their options and inputs: what the build program is told to do.

A step names only what its outcome depends on, so that changing one adapter's data changes only that adapter's steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from toolkit.core.device import Device
from toolkit.core.recipe import Adapter, Recipe


def build_steps(recipe: Recipe, devices: Iterable[Device], model: Path, data: Path) -> list[dict]:
    """quantize, fine-tune each adapter, then for each device: export, convert and evaluate each adapter."""
    steps = [_quantize(recipe, model, data)]
    steps += [_finetune(recipe, adapter, data) for adapter in recipe.adapters]
    for device in devices:
        steps.append(_export(recipe, device))
        steps += [_adapter(device, adapter) for adapter in recipe.adapters]
        steps += [_evaluate(recipe, device, adapter, model, data) for adapter in recipe.adapters]
    return steps


def _step(name: str, kind: str, options: dict, **inputs: str | Path) -> dict:
    given = {key: {"path": str(value)} if isinstance(value, Path) else {"step": value} for key, value in inputs.items()}
    return {"name": name, "kind": kind, "options": options, "inputs": given}


def _quantize(recipe: Recipe, model: Path, data: Path) -> dict:
    options = recipe.quantize.model_dump(mode="json", exclude={"calibration"})
    options |= {"text_template": recipe.data.text_template, "trust_remote_code": recipe.model.trust_remote_code}
    inputs = {"calibration": data / "calibration.jsonl"} if recipe.quantize.algorithm == "awq" else {}
    return _step("quantize", "quantize", options, model=model, **inputs)


def _finetune(recipe: Recipe, adapter: Adapter, data: Path) -> dict:
    options = {**recipe.finetune_of(adapter).model_dump(mode="json"), **recipe.data.model_dump(mode="json"), "adapter": adapter.name}
    options["trust_remote_code"] = recipe.model.trust_remote_code
    return _step(f"finetune-{adapter.name}", "finetune", options, model="quantize", train=data / f"{adapter.name}.train.jsonl")


def _export(recipe: Recipe, device: Device) -> dict:
    targets = sorted({target for adapter in recipe.adapters for target in recipe.finetune_of(adapter).targets})
    everything = any(not recipe.finetune_of(adapter).targets for adapter in recipe.adapters)
    options = {
        "device": device.name,
        "provider": device.provider,
        "precision": recipe.export.precision or device.precision,
        "block_size": recipe.quantize.group_size,
        "symmetric": recipe.quantize.symmetric,
        "lm_head": recipe.export.lm_head,
        "context_length": recipe.export.context_length,
        "targets": [] if everything else targets,
        "trust_remote_code": recipe.model.trust_remote_code,
    }
    return _step(f"export-{device.name}", "export", options, model="quantize")


def _adapter(device: Device, adapter: Adapter) -> dict:
    inputs = {"graph": f"export-{device.name}", "adapter": f"finetune-{adapter.name}"}
    return _step(f"adapter-{device.name}-{adapter.name}", "adapter", {"name": adapter.name}, **inputs)


def _evaluate(recipe: Recipe, device: Device, adapter: Adapter, model: Path, data: Path) -> dict:
    options = {
        **recipe.evaluate.model_dump(mode="json"),
        "device": device.name,
        "provider": device.provider,
        "adapter": adapter.name,
        "text_template": recipe.data.text_template,
        "trust_remote_code": recipe.model.trust_remote_code,
    }
    inputs = {"graph": f"export-{device.name}", "adapter": f"adapter-{device.name}-{adapter.name}"}
    return _step(
        f"evaluate-{device.name}-{adapter.name}",
        "evaluate",
        options,
        base=model,
        held_out=data / f"{adapter.name}.held_out.jsonl",
        **inputs,
    )
