"""Adapter: a PEFT adapter in, a file that ONNX Runtime GenAI loads into the exported graph out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from base_mark import METADATA_KEY as BASE_KEY
from base_mark import check_same_base
from lora_layout import METADATA_KEY, Layout, Part, from_plain, input_name
from lora_pack import METADATA_KEY as PLACES_KEY
from lora_pack import PACK_INPUT, Place, Segment, pack, places_of_text
from peft_adapter import Branches, read_branches
from step_io import Step, StepError, main

_DTYPES = {1: np.float32, 10: np.float16}
"""The types of activations that graphs have, by ONNX's numbers."""
UNMARKED = 1
"""Version of the model in adapter files for graphs that do not say which base they were exported from."""
ANOTHER_BASE = "The adapter was trained on another model than the graph was exported from."


@dataclass(frozen=True)
class GraphInput:
    """What the graph takes under one name, or for one side of a branch of ours. A size of None is free (the rank)."""

    shape: tuple[int | None, ...]
    dtype: type


@dataclass(frozen=True)
class Graph:
    """What an exported graph says of adapters."""

    inputs: dict[str, GraphInput]
    projections: Layout
    base: str
    """Mark of the model it was exported from; empty in graphs made before there were marks."""
    places: tuple[Place, ...] = ()
    """Its branches, where they are nodes of ours and take the adapter in one tensor."""


def convert(step: Step) -> None:
    import onnxruntime

    graph = read_graph(step.inputs["graph"] / "model.onnx")
    check_same_base(step.inputs["adapter"], graph.base, "the graph was exported from")
    branches = read_branches(step.inputs["adapter"])
    parameters = fitted(branches, graph.projections, graph.inputs)
    check(parameters, graph.inputs)
    name = step.option("name", "adapter")
    path = step.out / f"{name}.onnx_adapter"
    adapter = onnxruntime.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(version_of(graph.base))
    tensors = {PACK_INPUT: packed(branches, graph)} if graph.places else parameters
    values = {key: onnxruntime.OrtValue.ortvalue_from_numpy(value) for key, value in tensors.items()}
    adapter.set_parameters(values)
    adapter.export_adapter(str(path))
    step.write_metrics({"adapter.bytes": path.stat().st_size, "adapter.tensors": len(parameters)})


def version_of(base: str) -> int:
    """The base's mark as the whole number that an adapter file has room for, so that packaging can hold both against each other."""
    return int(base[:7], 16) + 2 if base else UNMARKED


def read_graph(path: Path) -> Graph:
    """The adapter inputs of an exported graph, the layout in its metadata, and its base."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in metadata:
        raise StepError(f"{path} takes no adapters.", "Export the model again with this version of the toolkit.")
    places = places_of_text(metadata.get(PLACES_KEY, "[]"))
    inputs = dict(_sides_of(places)) if places else dict(_adapter_inputs(model.graph))
    return Graph(inputs, from_plain(json.loads(metadata[METADATA_KEY])), metadata.get(BASE_KEY, ""), places)


def _adapter_inputs(graph) -> Iterator[tuple[str, GraphInput]]:
    """The A and B of every branch in three nodes, which are inputs of the graph."""
    for value in graph.input:
        if ".lora_" in value.name:
            tensor = value.type.tensor_type
            shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
            yield value.name, GraphInput(shape, _DTYPES[tensor.elem_type])


def _sides_of(places: tuple[Place, ...]) -> Iterator[tuple[str, GraphInput]]:
    """The A and B of every branch of ours, which lie in one tensor."""
    for place in places:
        yield f"{place.name}.lora_A", GraphInput((place.inputs, None), np.float16)
        yield f"{place.name}.lora_B", GraphInput((None, place.outputs), np.float16)


def fitted(branches: Branches, projections: Layout, inputs: dict[str, GraphInput]) -> dict[str, np.ndarray]:
    """The branches under the graph's names; those of a packed projection side by side.

    Raises:
        StepError: the graph has no place for one of them.
    """
    parameters, used, outputs = {}, set(), _outputs(projections)
    for block, name in sorted(_places(inputs)):
        parts = [part for part in projections[name] if (block, part.layer) in branches]
        if not parts:
            continue  # this adapter leaves the projection as it is
        used |= {(block, part.layer) for part in parts}
        for layer in dict.fromkeys(part.layer for part in parts):
            _check_branch(block, layer, branches, inputs[input_name(block, name, "A")].shape[0], outputs[layer])
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


def _outputs(projections: Layout) -> dict[str, int]:
    """How many outputs each Hugging Face layer has."""
    ends: dict[str, int] = {}
    for part in (part for parts in projections.values() for part in parts):
        ends[part.layer] = max(ends.get(part.layer, 0), part.start + part.rows)
    return ends


def _check_branch(block: int, layer: str, branches: Branches, inputs: int | None, outputs: int) -> None:
    """
    Raises:
        StepError: the layer is of another size in the model that the adapter was trained on; tells its tensor and both shapes.
    """
    branch = branches[block, layer]
    sides = {
        "lora_A": (branch.down.shape[::-1], (branch.down.shape[1], inputs)),
        "lora_B": (branch.up.shape[::-1], (outputs, branch.up.shape[0])),
    }
    for side, (has, wanted) in sides.items():
        if has != wanted:
            raise StepError(f"model.layers.{block}.{layer}.{side} is {has}, the graph takes {wanted}.", ANOTHER_BASE)


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
            up[at_row : at_row + values.shape[0], at_column : at_column + values.shape[1]] = values
            at_row += branch.down.shape[1]
        at_column += part.rows
    return np.concatenate(downs, axis=1), up


def packed(branches: Branches, graph: Graph) -> np.ndarray:
    """The whole adapter in one tensor, of what `fitted` has found to fit."""
    found = {}
    for block, name in _places(graph.inputs):
        segments, first = [], 0
        for part in graph.projections[name]:
            if branch := branches.get((block, part.layer)):
                segments.append(Segment(first, branch.down, branch.up[:, part.start : part.start + part.rows]))
            first += part.rows
        found[input_name(block, name, "A").removesuffix(".lora_A")] = segments
    return pack(graph.places, found)


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
                ANOTHER_BASE,
            )
        if not np.isfinite(value).all():
            raise StepError(f"{name} holds values that are no numbers.", "Train again with a lower learning rate.")


if __name__ == "__main__":
    main(convert)
