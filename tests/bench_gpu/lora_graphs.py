"""Small ONNX graphs of our operators, the same in numpy, and what binds and captures them on a card."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "containers" / "build"))

from lora_pack import PACK_INPUT, Place, Segment, pack

__all__ = ["PACK_INPUT", "Case", "Graph", "Place", "Segment", "bound", "on_card", "on_host", "options_of", "pack"]

DOMAIN = "edge.toolkit"
HALF, BYTES = TensorProto.FLOAT16, TensorProto.UINT8
NO_ADAPTER = np.zeros(0, np.uint8)


class Graph:
    """Nodes, inputs and constants, as they are added; branches in the order of their numbers."""

    def __init__(self):
        self.nodes, self.inputs, self.constants, self.places = [], [], [numpy_helper.from_array(NO_ADAPTER, PACK_INPUT)], []
        self.add_input(PACK_INPUT, BYTES, ["adapter_bytes"])

    def add_input(self, name: str, kind: int, shape: list) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def begin(self, x: str, sizes: list[tuple[int, int]]) -> Begun:
        numbers = list(range(len(self.places), len(self.places) + len(sizes)))
        self.places += [Place(f"branch.{number}", *size) for number, size in zip(numbers, sizes, strict=True)]
        begun = Begun(f"{x}_same_{numbers[0]}", f"{x}_sums_{numbers[0]}", numbers)
        self.node("LoraBegin", [x, PACK_INPUT], [begun.x, begun.sums], branches=numbers)
        return begun

    def end(self, begun: Begun, number: int, plain: str, out: str) -> str:
        taken = [plain, begun.sums, begun.x, PACK_INPUT]
        self.node("LoraEnd", taken, [out], branch=number, branches=begun.numbers)
        return out

    def node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = DOMAIN, **attributes) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, name=f"{kind}_{len(self.nodes)}", **attributes))

    def session(self, library: str, outputs: dict[str, int], is_captured: bool = False) -> onnxruntime.InferenceSession:
        results = [helper.make_tensor_value_info(name, HALF, ["rows", width]) for name, width in outputs.items()]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, results, self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.register_custom_ops_library(library)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        provider = ("CUDAExecutionProvider", {"enable_cuda_graph": "1"} if is_captured else {})
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])


@dataclass(frozen=True)
class Begun:
    """What LoraBegin made."""

    x: str
    sums: str
    numbers: list[int]


@dataclass(frozen=True)
class Case:
    """Projections that read one x. `parts`: columns and rank of each part of each projection; a rank of 0: no adapter there."""

    name: str
    inputs: int
    parts: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [(self.inputs, sum(columns for columns, _rank in parts)) for parts in self.parts]

    @property
    def places(self) -> list[Place]:
        return [Place(f"branch.{number}", *size) for number, size in enumerate(self.sizes)]

    def graph(self) -> Graph:
        graph, dice = Graph(), np.random.default_rng(3)
        begun = graph.begin(graph.add_input("x", HALF, ["rows", self.inputs]), self.sizes)
        for number, (inputs, outputs) in enumerate(self.sizes):
            weight = (dice.standard_normal((inputs, outputs)) / inputs**0.5).astype(np.float16)
            graph.constants.append(numpy_helper.from_array(weight, f"W{number}"))
            graph.node("MatMul", [begun.x, f"W{number}"], [f"plain{number}"], domain="")
            graph.end(begun, number, f"plain{number}", f"y{number}")
        return graph

    def outputs(self) -> dict[str, int]:
        return {f"y{number}": outputs for number, (_inputs, outputs) in enumerate(self.sizes)}

    def segments(self, seed: int) -> dict[str, list[Segment]]:
        dice, made = np.random.default_rng(seed), {}
        for number, parts in enumerate(self.parts):
            first, found = 0, []
            for columns, rank in parts:
                if rank:
                    down = (dice.standard_normal((self.inputs, rank)) / self.inputs**0.5).astype(np.float16)
                    found.append(Segment(first, down, (dice.standard_normal((rank, columns)) / rank**0.5).astype(np.float16)))
                first += columns
            made[f"branch.{number}"] = found
        return made

    def wanted(self, x: np.ndarray, plain: list[np.ndarray], segments: dict[str, list[Segment]]) -> list[np.ndarray]:
        results = [each.astype(np.float32) for each in plain]
        for number, result in enumerate(results):
            for part in segments.get(f"branch.{number}", []):
                t = x.astype(np.float32) @ part.down.astype(np.float32)
                result[:, part.first_column : part.first_column + part.up.shape[1]] += t @ part.up.astype(np.float32)
        return results


def on_card(values: np.ndarray) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(values, "cuda", 0)


def on_host(values: np.ndarray) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(values)


def bound(session, inputs: dict, outputs: dict):
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)
    return binding


def options_of(graph: int) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
