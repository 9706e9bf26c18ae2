"""Olive's ModelBuilder with our rounding in the place of its own.

The builder's rounding knows one set of exceptions (the head), cannot be given a grid, breaks blocks whose weights are all of one
sign, and needs an even number of blocks a row. Ours asks for each projection: how many bits, on which grid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import onnx_ir as ir
import torch
from lora_layout import Layout, layout
from olive.model import HfModelHandler, ONNXModelHandler
from olive.passes.olive_pass import PassConfigParam
from olive.passes.onnx.model_builder import ModelBuilder
from part_names import IN_THE_GRAPH, is_named

from passes.grid import Grid
from passes.grid_file import Points, read_points
from passes.rounding import Rounded, rounded

HEAD = "/lm_head/MatMul"
_BLOCK = re.compile(r"/model/layers\.(\d+)/(\w+)/(\w+)/MatMul")


@dataclass(frozen=True)
class Precisions:
    """How each projection is rounded."""

    bits: int
    """Of everything that is not named."""
    head_bits: int
    """16: the head stays as it is."""
    group_size: int
    symmetric: bool
    is_searched: bool
    """False: the weights lie on a grid, or are to be rounded plainly."""
    accuracy_level: int
    int8: list[str]
    keep: list[str]
    layers: int

    def bits_of(self, node: str) -> int:
        if node.startswith(HEAD):
            return self.head_bits
        if is_named(node, self.keep, self.layers):
            return 16
        return 8 if is_named(node, self.int8, self.layers) else self.bits


class RoundingBuilder(ModelBuilder):
    """Build the graph, and round what is to be rounded."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        own = {"rounding": PassConfigParam(type_=dict, required=True, description="Bits, blocks, exceptions: see Precisions.")}
        return {**super()._default_config(accelerator_spec), **own}

    def _run_for_config(self, model: HfModelHandler, config, output_model_path: str) -> ONNXModelHandler:
        rounding = Rounding.of(Path(model.model_path), config.rounding)
        with rounding.in_place_of_the_builders():
            return super()._run_for_config(model, config.model_copy(update={"rounding": None}), output_model_path)


@dataclass(frozen=True)
class Rounding:
    """Rounds the projections of a graph."""

    precisions: Precisions
    points: dict[str, Points]
    layout: Layout

    @classmethod
    def of(cls, model: Path, options: dict) -> Rounding:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        points = read_points(model)
        behind = layout(config, list(IN_THE_GRAPH)) if points else {}
        return cls(Precisions(**options, layers=config["num_hidden_layers"]), points, behind)

    @contextmanager
    def in_place_of_the_builders(self) -> Iterator[None]:
        from onnxruntime_genai.models.builder import Model

        rounded_graphs = []

        def rounded_graph(builder: Model) -> ir.Model:
            self.apply(builder.model)
            rounded_graphs.append(builder.model)
            return builder.model

        with patch.object(Model, "to_int4", rounded_graph):
            yield
        if not rounded_graphs:
            raise RuntimeError("The model builder has not asked for rounding: it is another version than this was written for.")

    def apply(self, model: ir.Model) -> None:
        for node in list(model.graph):
            if node.op_type == "MatMul" and node.inputs[1].name in model.graph.initializers:
                bits = self.precisions.bits_of(node.name)
                if bits < 16:
                    self._replace(model.graph, node, bits)
        model.graph.opset_imports["com.microsoft"] = 1

    def _replace(self, graph: ir.Graph, node: ir.Node, bits: int) -> None:
        value = node.inputs[1]
        weight = torch.from_numpy(value.const_value.numpy())
        made = self._rounded(node.name, weight.to(_device()).T, bits)
        scales = made.scales.astype(value.dtype.numpy())
        parts = {f"Q{bits}": made.codes, "scale": scales} | ({} if made.zeros is None else {"zero": made.zeros})
        inputs = [_initializer(graph, f"{value.name}_{part}", array) for part, array in parts.items()]
        attributes = {
            "K": weight.shape[0], "N": weight.shape[1], "bits": bits, "block_size": self.precisions.group_size,
            "accuracy_level": self.precisions.accuracy_level,
        }  # fmt: skip
        new = ir.node("MatMulNBits", [node.inputs[0], *inputs], attributes, domain="com.microsoft", name=f"{node.name}_Q{bits}")
        ir.convenience.replace_nodes_and_values(graph, node, [node], [new], node.outputs, new.outputs)
        if not value.uses():
            del graph.initializers[value.name]

    def _rounded(self, node: str, weight: torch.Tensor, bits: int) -> Rounded:
        grid = Grid(bits, self.precisions.group_size, self.precisions.symmetric)
        points = self._points_of(node) if bits == self.precisions.bits == 4 else None
        is_searched = bits == 4 and self.precisions.is_searched
        try:
            return rounded(weight, grid, points, is_searched)
        except ValueError as error:
            raise ValueError(f"The weights of {node} {error}.") from error

    def _points_of(self, node: str) -> Points | None:
        """The points of the layers behind a projection, one below the other."""
        match = _BLOCK.match(node)
        parts = self.layout.get(f"{match[2]}.{match[3]}", ()) if match else ()
        found = [(self.points.get(f"model.layers.{match[1]}.{part.layer}"), part) for part in parts]
        if not found or any(points is None for points, _ in found):
            return None
        rows = [[of[part.start : part.start + part.rows] for of in points] for points, part in found]
        return torch.cat([scale for scale, _ in rows]), torch.cat([zero for _, zero in rows])


def _initializer(graph: ir.Graph, name: str, array) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.initializers[name] = value
    return value


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
