"""A LoRA adapter as PEFT saves it, read for whoever fits it to a graph or folds it into a model; refused where it is damaged."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from step_io import StepError

_WEIGHT = re.compile(r"\.layers\.(\d+)\.((?:self_attn|mlp)\.\w+)\.lora_([AB])\.weight$")
CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Branch:
    """The adapter of one Hugging Face layer: x (in) -> A -> B -> out, B scaled already."""

    down: np.ndarray
    """`[in, rank]`"""
    up: np.ndarray
    """`[rank, out]`"""


Branches = dict[tuple[int, str], Branch]
"""By block number and layer name such as `self_attn.q_proj`."""


def read_branches(folder: Path) -> Branches:
    """PEFT's tensors as branches, alpha / rank multiplied into B.

    Raises:
        StepError: it is no plain LoRA adapter, or one of its tensors is missing, misplaced, empty or no number.
    """
    import torch
    from safetensors.torch import load_file

    config = _config(folder)
    sides: dict[tuple[int, str], dict[str, np.ndarray]] = {}
    for name, tensor in load_file(folder / WEIGHTS_FILE).items():
        match = _WEIGHT.search(name)
        if match is None:
            raise StepError(f"The adapter's tensor {name} has no place in the graph.", "Train linear layers of blocks.")
        _refuse_broken(name, tensor)
        sides.setdefault((int(match[1]), match[2]), {})[match[3]] = tensor.to(torch.float32).numpy()
    if not sides:
        raise StepError(f"{folder / WEIGHTS_FILE} holds no tensors.", "Train the adapter again.")
    return {place: _branch(place, tensors, config) for place, tensors in sides.items()}


def _config(folder: Path) -> dict:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StepError(f"{folder} holds no adapter: {CONFIG_FILE} cannot be read.", "Train the adapter again.") from error
    refuse_unknown_kinds(config)
    return config


def refuse_unknown_kinds(config: dict) -> None:
    """
    Raises:
        StepError: the adapter is not plain LoRA, and would be computed wrongly.
    """
    if config.get("peft_type", "LORA") != "LORA":
        raise StepError(f"Adapters of type {config['peft_type']} are not supported.", "Train plain LoRA.")
    for option in ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if config.get(option):
            raise StepError(f"Adapters with {option} are not supported.", "Train it without, as plain LoRA.")


def _refuse_broken(name: str, tensor) -> None:
    if 0 in tensor.shape:
        raise StepError(
            f"{name} is of shape {tuple(tensor.shape)}: an adapter of rank 0 learns nothing.", "Train with a rank of 1 or more."
        )
    if not tensor.isfinite().all():
        raise StepError(f"{name} holds values that are no numbers.", "Train again with a lower learning rate.")


def _branch(place: tuple[int, str], tensors: dict[str, np.ndarray], config: dict) -> Branch:
    block, layer = place
    if set(tensors) != {"A", "B"}:
        raise StepError(f"Block {block}, {layer} has only one of lora_A and lora_B.", "Train the adapter again.")
    rank, other = tensors["A"].shape[0], tensors["B"].shape[1]
    if rank != other:
        raise StepError(f"Block {block}, {layer}: lora_A is of rank {rank}, lora_B of rank {other}.", "Train the adapter again.")
    scaling = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    return Branch(tensors["A"].T, tensors["B"].T * scaling)
