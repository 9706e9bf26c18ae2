"""Gives an exported graph inputs for LoRA adapters: y = x W + (x A) B, where A and B may be set at run time.

They are graph inputs with a default, so the graph runs without an adapter, and any adapter fits, whatever its ranks. They are never
int4, and a packed projection gets one branch, not three. Where our operators are at hand, all of an adapter is one input, in 16 bits, and a
branch is one node, or on CUDA two around the product, so that its first half runs beside it. Else A and B are an input each, in the
type of the activations, and a branch is three nodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from graph_library import library_for
from lora_layout import METADATA_KEY, as_plain, from_plain, input_name
from lora_pack import METADATA_KEY as PLACES_KEY
from lora_pack import Place, places_as_text
from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.passes import Pass
from olive.passes.olive_pass import PassConfigParam
from olive.passes.onnx.common import ir_model_to_olive_model

from passes import graph_operators

_PROJECTION = re.compile(r"/model/layers\.(\d+)/(attn|mlp)/(\w+)/MatMul(_\w+)?$")
_MATMULS = ("MatMul", "MatMulNBits")
DATA_FILE = "model.onnx.data"


class LoraInputs(Pass):
    """Insert the branches for the projections of a layout."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        return {
            "layout": PassConfigParam(type_=dict, required=True, description="Projections and what is behind them; none: no branches."),
            "platform": PassConfigParam(type_=str, default_value="", description="The device's; our operators are used where they fit it."),
            "provider": PassConfigParam(type_=str, default_value="cpu", description="cpu or cuda."),
        }

    def _run_for_config(self, model: ONNXModelHandler, config, output_model_path: str) -> ONNXModelHandler:
        graph_model = model.load_ir_model()
        operators_for = config.provider if library_for(config.platform) else ""
        if config.layout:
            insert_lora_inputs(graph_model, config.layout, operators_for)
        if operators_for == "cuda" and graph_operators.fuse_silu(graph_model.graph):
            graph_operators.declare(graph_model)
        path = resolve_onnx_path(output_model_path, Path(model.model_path).name)
        return ir_model_to_olive_model(graph_model, path, {"save_as_external_data": True, "external_data_name": DATA_FILE})


@dataclass(frozen=True)
class Projection:
    """A product of the graph that gets a branch."""

    block: int
    name: str
    """Such as `attn.o_proj`."""
    node: ir.Node
    place: Place

    @property
    def source(self) -> ir.Value:
        return self.node.inputs[0]

    @property
    def plain(self) -> ir.Value:
        return self.node.outputs[0]

    @property
    def dtype(self) -> ir.DataType:
        return self.plain.dtype or self.source.dtype or ir.DataType.FLOAT

    @property
    def stem(self) -> str:
        return f"/model/layers.{self.block}/{self.name.replace('.', '/')}/lora"


def insert_lora_inputs(model: ir.Model, plain_layout: dict, operators_for: str = "") -> int:
    """Insert the branches; how many. The layout, cut down to what the graph has, goes into its metadata.

    Raises:
        ValueError: the graph has none of the projections, or one of another width than the layout says.
    """
    wanted = from_plain(plain_layout)
    found = [_projection(item, wanted) for item in _projections(model.graph) if item[1] in wanted]
    if not found:
        raise ValueError("The graph has none of the projections that adapters are trained for.")
    if all(graph_operators.has_branches(operators_for, each.dtype) for each in found):
        _insert_ours(model.graph, found, operators_for)
        graph_operators.declare(model)
        model.metadata_props[PLACES_KEY] = places_as_text([each.place for each in found])
    else:
        for each in found:
            _insert_three(model.graph, each)
    model.metadata_props[METADATA_KEY] = json.dumps(as_plain({each.name: wanted[each.name] for each in found}))
    return len(found)


def _projection(item: tuple[int, str, ir.Node], wanted: dict) -> Projection:
    block, name, node = item
    inputs, outputs = _widths(node)
    rows = sum(part.rows for part in wanted[name])
    if rows != outputs:
        raise ValueError(f"{node.name} has {outputs} outputs, the model's config says {rows}.")
    return Projection(block, name, node, Place(f"model.layers.{block}.{name}", inputs, outputs))


def _projections(graph: ir.Graph) -> Iterator[tuple[int, str, ir.Node]]:
    """Block number, name such as `attn.o_proj`, and node of every projection."""
    for node in list(graph):
        match = _PROJECTION.match(node.name or "")
        if match and node.op_type in _MATMULS:
            yield int(match[1]), f"{match[2]}.{match[3]}", node


def _widths(node: ir.Node) -> tuple[int, int]:
    """How many inputs and outputs a projection has."""
    if node.op_type == "MatMulNBits":
        return node.attributes["K"].as_int(), node.attributes["N"].as_int()
    inputs, outputs = node.inputs[1].shape
    return int(inputs), int(outputs)


def _insert_ours(graph: ir.Graph, found: list[Projection], provider: str) -> None:
    """The branches by our operators; their numbers are their places in the list."""
    pack = graph_operators.pack_input(graph)
    numbered = list(enumerate(found))
    if provider == "cpu":
        for number, each in numbered:
            _insert_after(graph, each, [graph_operators.lora_add(each.source, each.plain, pack, number, f"{each.stem}/LoraAdd")])
        return
    by_source: dict[ir.Value, list[tuple[int, Projection]]] = {}
    for number, each in numbered:
        by_source.setdefault(each.source, []).append((number, each))
    for group in by_source.values():
        for first in range(0, len(group), graph_operators.MOST_SIBLINGS):
            _insert_pairs(graph, group[first : first + graph_operators.MOST_SIBLINGS], pack)


def _insert_pairs(graph: ir.Graph, siblings: list[tuple[int, Projection]], pack: ir.Value) -> None:
    """One beginning for projections that read the same, before the first of them; an end after each."""
    source, stem = siblings[0][1].source, siblings[0][1].stem
    begin = graph_operators.lora_begin(source, pack, [number for number, _each in siblings], f"{stem}/LoraBegin")
    same, sums = begin.outputs
    _describe(same, f"{stem}/same", list(source.shape) if source.shape is not None else _lead(source) + [None], siblings[0][1].dtype)
    _describe(sums, f"{stem}/sums", [None, None], ir.DataType.FLOAT)
    graph.insert_before(siblings[0][1].node, begin)
    for number, each in siblings:
        each.node.replace_input_with(0, same)
        _insert_after(graph, each, [graph_operators.lora_end(each.plain, begin, number, f"{each.stem}/LoraEnd")])


def _insert_three(graph: ir.Graph, each: Projection) -> None:
    rank = f"rank_{each.block}_{each.name.replace('.', '_')}"
    down = _adapter_input(graph, input_name(each.block, each.name, "A"), [each.place.inputs, rank], each.dtype)
    up = _adapter_input(graph, input_name(each.block, each.name, "B"), [rank, each.place.outputs], each.dtype)
    _insert_after(graph, each, _in_three(each.source, each.plain, down, up, each.stem))


def _insert_after(graph: ir.Graph, each: Projection, nodes: list[ir.Node]) -> None:
    """Put nodes behind a product; who read it reads the last of them."""
    total = nodes[-1].outputs[0]
    _describe(total, f"{each.stem}/output_0", [*_lead(each.plain), each.place.outputs], each.dtype)
    for reader, index in [use for use in each.plain.uses() if use.node is not nodes[-1]]:
        reader.replace_input_with(index, total)
    graph.insert_after(each.node, nodes)


def _in_three(source: ir.Value, plain: ir.Value, down: ir.Value, up: ir.Value, stem: str) -> list[ir.Node]:
    small = ir.node("MatMul", [source, down], name=f"{stem}_A/MatMul")
    large = ir.node("MatMul", [small.outputs[0], up], name=f"{stem}_B/MatMul")
    for node, side, value in ((small, "A", down), (large, "B", up)):
        _describe(node.outputs[0], f"{stem}_{side}/output_0", [*_lead(plain), value.shape[1]], value.dtype)
    return [small, large, ir.node("Add", [plain, large.outputs[0]], name=f"{stem}/Add")]


def _lead(plain: ir.Value) -> list:
    """The dimensions before the last."""
    return list(plain.shape)[:-1] if plain.shape is not None else ["batch_size", "sequence_length"]


def _adapter_input(graph: ir.Graph, name: str, shape: list[int | str], dtype: ir.DataType) -> ir.Value:
    """A graph input whose default is of rank 0, and so adds nothing."""
    default = np.zeros([0 if isinstance(size, str) else size for size in shape], dtype.numpy())
    value = ir.Value(name=name)
    _describe(value, name, shape, dtype)
    value.const_value = ir.tensor(default, name=name)
    graph.inputs.append(value)
    graph.initializers[name] = value
    return value


def _describe(value: ir.Value, name: str, shape: list[int | str], dtype: ir.DataType) -> None:
    value.name, value.shape, value.dtype = name, ir.Shape(shape), dtype
