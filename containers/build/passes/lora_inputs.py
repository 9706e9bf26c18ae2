"""Gives an exported graph inputs for LoRA adapters: y = x W + (x A) B, where A and B may be set at run time.

A and B are graph inputs with a default, so the graph runs without an adapter, and any adapter fits: the rank is
symbolic. They are never int4, and a packed projection gets one branch, not three. Where our operators are at hand a branch is
one node, and A and B have 16 bits, for decode reads them all at every token; else it is three, in the type of the activations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
from graph_library import library_for
from lora_layout import METADATA_KEY, as_plain, from_plain, input_name
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


def insert_lora_inputs(model: ir.Model, plain_layout: dict, operators_for: str = "") -> int:
    """Insert the branches; how many. The layout, cut down to what the graph has, goes into its metadata.

    Raises:
        ValueError: the graph has none of the projections, or one of another width than the layout says.
    """
    wanted, found = from_plain(plain_layout), {}
    projections = [item for item in _projections(model.graph) if item[1] in wanted]
    for block, name, node in projections:
        rows = sum(part.rows for part in wanted[name])
        inputs, outputs = _widths(node)
        if rows != outputs:
            raise ValueError(f"{node.name} has {outputs} outputs, the model's config says {rows}.")
        if _insert_branch(model.graph, node, block, name, inputs, outputs, operators_for):
            graph_operators.declare(model)
        found[name] = wanted[name]
    if not projections:
        raise ValueError("The graph has none of the projections that adapters are trained for.")
    model.metadata_props[METADATA_KEY] = json.dumps(as_plain(found))
    return len(projections)


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


def _insert_branch(graph: ir.Graph, node: ir.Node, block: int, name: str, inputs: int, outputs: int, operators_for: str) -> bool:
    """Insert one branch; whether it is a node of ours."""
    source, plain = node.inputs[0], node.outputs[0]
    dtype = plain.dtype or source.dtype or ir.DataType.FLOAT
    rank = f"rank_{block}_{name.replace('.', '_')}"
    is_ours = graph_operators.has_lora_add(operators_for, dtype)
    kept = graph_operators.ADAPTER_TYPE if is_ours else dtype
    down = _adapter_input(graph, input_name(block, name, "A"), [inputs, rank], kept)
    up = _adapter_input(graph, input_name(block, name, "B"), [rank, outputs], kept)
    stem = f"/model/layers.{block}/{name.replace('.', '/')}/lora"
    nodes = [graph_operators.lora_add(source, plain, down, up, f"{stem}/LoraAdd")] if is_ours else _in_three(source, plain, down, up, stem)
    total = nodes[-1].outputs[0]
    _describe(total, f"{stem}/output_0", [*_lead(plain), outputs], dtype)
    for reader, place in [use for use in plain.uses() if use.node is not nodes[-1]]:
        reader.replace_input_with(place, total)
    graph.insert_after(node, nodes)
    return is_ours


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
