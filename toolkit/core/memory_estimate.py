"""What a model will take in the memory of a device, estimated from its weights' headers and a recipe before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from toolkit.core.device import MERGED, Device
from toolkit.core.footprint import Footprint, number_bytes
from toolkit.core.kv_budget import MemoryFit, memory_fit
from toolkit.core.modelcheck import ModelFacts, text_settings, weights_of
from toolkit.core.plan import carries
from toolkit.core.precision import precision_of
from toolkit.core.recipe import Adapter, Recipe
from toolkit.core.safetensors_header import TensorEntry
from toolkit.errors import RecipeError

BITS = {"int4": 4, "int8": 8}
TOGETHER = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Projections that a model or its graph may hold as one."""
HEADS = ("lm_head", "output_layer")
LAYER = re.compile(r"\.(\d+)\.")

Tensors = Mapping[str, TensorEntry]


def memory_fits(facts: ModelFacts, recipe: Recipe, devices: Iterable[Device]) -> tuple[MemoryFit, ...]:
    """What each device of a recipe has memory for; nothing for a model whose config.json does not tell its caches."""
    config, tensors = text_settings(facts.folder), weights_of(facts.folder)
    if not isinstance(config.get("num_attention_heads"), int):
        return ()
    return tuple(_fit(facts, recipe, device, config, tensors) for device in devices)


def memory_problems(fits: Iterable[MemoryFit]) -> list[RecipeError]:
    """The devices that no conversation of any use fits on."""
    hint = "Raise it in data/devices/{}.toml, or take a smaller model or a smaller precision."
    return [RecipeError(fit.sentence, hint.format(fit.device)) for fit in fits if not fit.fits]


def _fit(facts: ModelFacts, recipe: Recipe, device: Device, config: Mapping[str, Any], tensors: Tensors) -> MemoryFit:
    wanted = recipe.export.context_length or device.max_length
    per_token = _cache_bytes(facts, config, number_bytes(device.provider))
    beside = carries(recipe, device) != MERGED  # of merged graphs one at least is in memory
    footprint = Footprint(
        weights=graph_bytes(facts, recipe, device, tensors),
        adapters=sum(_adapter_bytes(recipe, adapter, device, tensors) for adapter in recipe.adapters) if beside else 0,
        kv_bytes_per_token=per_token,
        vocab=facts.vocab,
        provider=device.provider,
    )
    return memory_fit(device, footprint, min(wanted, facts.context or wanted))


def _cache_bytes(facts: ModelFacts, config: Mapping[str, Any], number: int) -> int:
    """Of one token: two numbers for each layer, key-value head and place in the head."""
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or facts.hidden // heads
    return 2 * facts.layers * (config.get("num_key_value_heads") or heads) * size * number


def graph_bytes(facts: ModelFacts, recipe: Recipe, device: Device, tensors: Tensors) -> int:
    """Of an exported graph's weights."""
    plain, precision = number_bytes(device.provider), precision_of(recipe, device)
    if precision not in BITS:
        return facts.parameters * (2 if precision == "fp16" else 4)
    head_bits = BITS.get(recipe.export.lm_head, 0) if precision == "int4" else 8
    total, embedded = 0.0, facts.vocab * facts.hidden
    for name, entry in tensors.items():
        if len(entry.shape) > 1 and LAYER.search(name):
            total += entry.parameters * _number_size(_bits_of(name, facts, recipe, BITS[precision]), recipe, plain)
        elif "embed" not in name and not any(head in name for head in HEADS):
            total += entry.parameters * plain
    head = embedded * _number_size(head_bits, recipe, plain)
    is_shared = facts.tied and head_bits
    return int(total + head + (0 if is_shared else embedded * plain))


def _bits_of(name: str, facts: ModelFacts, recipe: Recipe, bits: int) -> int:
    """Bits of a projection's weights; 0: it stays in floats."""
    if _is_named(name, recipe.export.keep, facts.layers):
        return 0
    return 8 if _is_named(name, recipe.export.int8, facts.layers) else bits


def _is_named(name: str, parts: Sequence[str], layers: int) -> bool:
    ends = {"first_layer": 0, "last_layer": layers - 1}
    layer, projection = int(LAYER.search(name)[1]), name.split(".")[-2]
    alike = {projection, *(one for one, held in TOGETHER.items() if projection in held)}
    return any(ends[part] == layer if part in ends else part in alike or projection in TOGETHER.get(part, ()) for part in parts)


def _number_size(bits: int, recipe: Recipe, plain: int) -> float:
    """Bytes of a weight with its share of its block's scale and zero point."""
    if not bits:
        return plain
    zero_point = 0 if recipe.quantize.symmetric else bits / 8
    return bits / 8 + (plain + zero_point) / recipe.quantize.group_size


def _adapter_bytes(recipe: Recipe, adapter: Adapter, device: Device, tensors: Tensors) -> int:
    """Of its two matrices for each projection."""
    options = recipe.finetune_of(adapter)
    shapes = [
        entry.shape
        for name, entry in tensors.items()
        if name.endswith(".weight") and len(entry.shape) == 2 and LAYER.search(name)
        and (not options.targets or name.split(".")[-2] in options.targets)
    ]  # fmt: skip
    return sum(sum(shape) for shape in shapes) * options.rank * number_bytes(device.provider)
