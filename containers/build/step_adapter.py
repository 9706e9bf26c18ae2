"""Adapter: a PEFT adapter in, a file that ONNX Runtime GenAI loads into the exported graph out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lora_layout import METADATA_KEY, Layout, Part, from_plain, input_name
from step_io import Step, StepError, main

_WEIGHT = re.compile(r"\.layers\.(\d+)\.((?:self_attn|mlp)\.\w+)\.lora_([AB])\.weight$")
_DTYPES = {1: np.float32, 10: np.float16}
"""The types of activations that graphs have, by ONNX's numbers."""


@dataclass(frozen=True)
class GraphInput:
    """What the graph takes under one name. A size of None is free (the rank)."""

    shape: tuple[int | None, ...]
    dtype: type


@dataclass(frozen=True)
class Branch:
    """The adapter of one Hugging Face layer: x (in) -> A -> B -> out, B scaled already."""

    down: np.ndarray
    """`[in, rank]`"""
    up: np.ndarray
    """`[rank, out]`"""


Branches = dict[tuple[int, str], Branch]
"""By block number and layer name such as `self_attn.q_proj`."""


def convert(step: Step) -> None:
    import onnxruntime

    graph_inputs, projections = read_graph(step.inputs["graph"] / "model.onnx")
    branches = read_branches(step.inputs["adapter"])
    parameters = fitted(branches, projections, graph_inputs)
    check(parameters, graph_inputs)
    name = step.option("name", "adapter")
    path = step.out / f"{name}.onnx_adapter"
    adapter = onnxruntime.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    values = {key: onnxruntime.OrtValue.ortvalue_from_numpy(value) for key, value in parameters.items()}
    adapter.set_parameters(values)
    adapter.export_adapter(str(path))
    step.write_metrics({"adapter.bytes": path.stat().st_size, "adapter.tensors": len(parameters)})


def read_graph(path: Path) -> tuple[dict[str, GraphInput], Layout]:
    """The adapter inputs of an exported graph, and the layout in its metadata."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in metadata:
        raise StepError(f"{path} takes no adapters.", "Export the model again with this version of the toolkit.")
    inputs = {}
    for value in model.graph.input:
        if ".lora_" not in value.name:
            continue
        tensor = value.type.tensor_type
        shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
        inputs[value.name] = GraphInput(shape, _DTYPES[tensor.elem_type])
    return inputs, from_plain(json.loads(metadata[METADATA_KEY]))


def read_branches(folder: Path) -> Branches:
    """PEFT's tensors as branches, alpha / rank multiplied into B."""
    import torch
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    refuse_unknown_kinds(config)
    sides: dict[tuple[int, str], dict[str, np.ndarray]] = {}
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        match = _WEIGHT.search(name)
        if match is None:
            raise StepError(f"The adapter's tensor {name} has no place in the graph.", "Train linear layers of blocks.")
        sides.setdefault((int(match[1]), match[2]), {})[match[3]] = tensor.to(torch.float32).numpy()
    return {place: _branch(place, tensors, config) for place, tensors in sides.items()}


def refuse_unknown_kinds(config: dict) -> None:
    """
    Raises:
        StepError: the adapter is not plain LoRA, and would be computed wrongly.
    """
    for option in ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"):
        if config.get(option):
            raise StepError(f"Adapters with {option} are not supported.", "Train it without, as plain LoRA.")
    if config.get("peft_type", "LORA") != "LORA":
        raise StepError(f"Adapters of type {config['peft_type']} are not supported.", "Train plain LoRA.")


def _branch(place: tuple[int, str], tensors: dict[str, np.ndarray], config: dict) -> Branch:
    if set(tensors) != {"A", "B"}:
        raise StepError(f"Block {place[0]}, {place[1]} has only one of lora_A and lora_B.", "Train the adapter again.")
    rank = tensors["A"].shape[0]
    scaling = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    return Branch(tensors["A"].T, tensors["B"].T * scaling)


def fitted(branches: Branches, projections: Layout, inputs: dict[str, GraphInput]) -> dict[str, np.ndarray]:
    """The branches under the graph's names; those of a packed projection side by side.

    Raises:
        StepError: the graph has no place for one of them.
    """
    parameters, used = {}, set()
    for block, name in sorted(_places(inputs)):
        parts = [part for part in projections[name] if (block, part.layer) in branches]
        if not parts:
            continue  # this adapter leaves the projection as it is
        used |= {(block, part.layer) for part in parts}
        down, up = _side_by_side(block, projections[name], branches)
        for side, value in (("A", down), ("B", up)):
            key = input_name(block, name, side)
            parameters[key] = np.ascontiguousarray(value.astype(inputs[key].dtype))
    if homeless := sorted(set(branches) - used):
        block, layer = homeless[0]
        raise StepError(
            f"The graph has no input for block {block}, {layer} ({len(homeless)} such).",
            "Export again: the targets of every adapter must be known at export.",
        )
    return parameters


def _places(inputs: dict[str, GraphInput]) -> Iterator[tuple[int, str]]:
    """Block and projection of each pair of inputs."""
    for name in inputs:
        if name.endswith(".lora_A"):
            block, projection = name.removeprefix("model.layers.").removesuffix(".lora_A").split(".", 1)
            yield int(block), projection


def _side_by_side(block: int, parts: tuple[Part, ...], branches: Branches) -> tuple[np.ndarray, np.ndarray]:
    """One A and one B for a whole projection: the As beside each other, the Bs on a diagonal of blocks."""
    placed = [(part, branches.get((block, part.layer))) for part in parts]
    downs = [branch.down for _part, branch in placed if branch]
    rows = sum(down.shape[1] for down in downs)
    up = np.zeros((rows, sum(part.rows for part in parts)), dtype=np.float32)
    at_row = at_column = 0
    for part, branch in placed:
        if branch:
            values = branch.up[:, part.start : part.start + part.rows]
            if values.shape[1] != part.rows:
                raise StepError(
                    f"Block {block}, {part.layer}.lora_B has {branch.up.shape[1]} outputs, the graph wants more.",
                    "The adapter was trained on another model than the graph was exported from.",
                )
            up[at_row : at_row + values.shape[0], at_column : at_column + values.shape[1]] = values
            at_row += branch.down.shape[1]
        at_column += part.rows
    return np.concatenate(downs, axis=1), up


def check(parameters: dict[str, np.ndarray], inputs: dict[str, GraphInput]) -> None:
    """
    Raises:
        StepError: a tensor is not what the graph takes; its name is told.
    """
    for name, value in parameters.items():
        wanted = inputs[name]
        fits = all(size is None or size == has for size, has in zip(wanted.shape, value.shape, strict=True))
        if not fits or value.dtype != wanted.dtype:
            raise StepError(
                f"{name} is {value.shape} of {value.dtype}, the graph takes {wanted.shape} of {wanted.dtype.__name__}.",
                "The adapter was trained on another model than the graph was exported from.",
            )
        if not np.isfinite(value).all():
            raise StepError(f"{name} holds values that are no numbers.", "Train again with a lower learning rate.")


if __name__ == "__main__":
    main(convert)
