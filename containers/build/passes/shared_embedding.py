"""Lets the embedding read the quantised weights of the language model head where both are one in the model.

Without this a model with tied embeddings carries them twice, once in 32 bit: more than all the rest of a small model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from olive.model import ONNXModelHandler
from olive.model.utils import resolve_onnx_path
from olive.passes import Pass
from olive.passes.olive_pass import PassConfigParam
from olive.passes.onnx.common import ir_model_to_olive_model

HEAD = "/lm_head/MatMul"
EMBEDDING = "/model/embed_tokens/Gather"
CODES_PER_BYTE = {4: 2, 8: 1}


class SharedEmbedding(Pass):
    """Replace the float embedding by a gather on the head's blocks."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        return {}

    def _run_for_config(self, model: ONNXModelHandler, config, output_model_path: str) -> ONNXModelHandler:
        graph_model = model.load_ir_model()
        share_embedding(graph_model)
        path = resolve_onnx_path(output_model_path, Path(model.model_path).name)
        saving = {"save_as_external_data": True, "external_data_name": "model.onnx.data"}
        return ir_model_to_olive_model(graph_model, path, saving)


def share_embedding(model: ir.Model) -> bool:
    """Share, where head and embedding are of one size and the head is in blocks; False where they are not."""
    graph = model.graph
    head = next((node for node in graph if node.name.startswith(HEAD) and node.op_type == "MatMulNBits"), None)
    gather = next((node for node in graph if node.name == EMBEDDING and node.op_type == "Gather"), None)
    if head is None or gather is None:
        return False
    bits, block = head.attributes["bits"].as_int(), head.attributes["block_size"].as_int()
    rows, columns = head.attributes["N"].as_int(), head.attributes["K"].as_int()
    table = gather.inputs[0]
    if bits not in CODES_PER_BYTE or list(table.shape) != [rows, columns] or columns % block:
        return False
    _replace(graph, gather, head, columns // CODES_PER_BYTE[bits], {"bits": bits, "block_size": block})
    del graph.initializers[table.name]
    graph.opset_imports.setdefault("com.microsoft", 1)
    return True


def _replace(graph: ir.Graph, gather: ir.Node, head: ir.Node, bytes_per_row: int, attributes: dict[str, int]) -> None:
    """The head keeps its codes as [rows, blocks, bytes]; the gather wants [rows, bytes]: a view at run time."""
    rows = head.attributes["N"].as_int()
    shape = ir.Value(name=f"{EMBEDDING}/shape")
    shape.const_value = ir.tensor(np.array([rows, bytes_per_row], dtype=np.int64), name=shape.name)
    shape.shape, shape.dtype = ir.Shape([2]), ir.DataType.INT64
    graph.initializers[shape.name] = shape
    flat = ir.node("Reshape", [head.inputs[1], shape], name="/model/embed_tokens/Reshape")
    flat.outputs[0].name = "/model/embed_tokens/Reshape/output_0"
    flat.outputs[0].shape, flat.outputs[0].dtype = ir.Shape([rows, bytes_per_row]), ir.DataType.UINT8
    numbers = [value for value in head.inputs[2:4] if value is not None]  # scales, and zero points where there are any
    for value in numbers:
        value.const_value = ir.tensor(value.const_value.numpy().reshape(rows, -1), name=value.name)
        value.shape = value.const_value.shape
    inputs = [flat.outputs[0], gather.inputs[1], *numbers]
    shared = ir.node(
        "GatherBlockQuantized", inputs, {**attributes, "gather_axis": 0, "quantize_axis": 1},
        domain="com.microsoft", name="/model/embed_tokens/GatherBlockQuantized",
    )  # fmt: skip
    plain = gather.outputs[0]
    shared.outputs[0].name = "/model/embed_tokens/GatherBlockQuantized/output_0"
    shared.outputs[0].shape, shared.outputs[0].dtype = plain.shape, plain.dtype
    graph.insert_before(gather, [flat, shared])
    for reader, place in list(plain.uses()):
        reader.replace_input_with(place, shared.outputs[0])
    graph.remove(gather, safe=True)
