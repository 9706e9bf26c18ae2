"""Our own graph operators: one node, and one kernel, where ONNX has several. Used where their library is at hand.

`LoraAdd` takes an adapter's tensors where ONNX Runtime has them, in the host's memory, and keeps them on the card; without it they
are copied there for every token. See containers/graph_ops.
"""

from __future__ import annotations

import onnx_ir as ir
from graph_library import DOMAIN

_LORA_TYPES = {"cpu": ir.DataType.FLOAT, "cuda": ir.DataType.FLOAT16}
"""What LoraAdd computes in, by provider."""
ADAPTER_TYPE = ir.DataType.FLOAT16
"""What it takes adapters in."""


def has_lora_add(provider: str, dtype: ir.DataType) -> bool:
    return _LORA_TYPES.get(provider) == dtype


def lora_add(source: ir.Value, plain: ir.Value, down: ir.Value, up: ir.Value, name: str) -> ir.Node:
    """plain + (source down) up; the output takes over the memory of `plain`."""
    return ir.node("LoraAdd", [source, plain, down, up], domain=DOMAIN, name=name)


def fuse_silu(graph: ir.Graph) -> int:
    """Each gate * sigmoid(gate) * up in 16 bit as one node; how many."""
    fused = 0
    for sigmoid in [node for node in graph if node.op_type == "Sigmoid"]:
        found = _silu_mul(sigmoid)
        if found is None:
            continue
        silu, product, up = found
        node = ir.node("SiluMul", [sigmoid.inputs[0], up], domain=DOMAIN, name=f"{product.name}/SiluMul")
        ir.convenience.replace_nodes_and_values(graph, product, [sigmoid, silu, product], [node], product.outputs, node.outputs)
        fused += 1
    return fused


def _silu_mul(sigmoid: ir.Node) -> tuple[ir.Node, ir.Node, ir.Value] | None:
    """The two multiplications after a sigmoid and what is multiplied last, where they are a SwiGLU that nothing else reads."""
    gate, slope = sigmoid.inputs[0], sigmoid.outputs[0]
    silu = _only_reader(slope)
    if silu is None or set(silu.inputs) != {gate, slope} or gate.dtype not in (None, ir.DataType.FLOAT16):
        return None
    product = _only_reader(silu.outputs[0])
    if product is None or product.outputs[0].dtype != ir.DataType.FLOAT16:
        return None
    return silu, product, next(value for value in product.inputs if value is not silu.outputs[0])


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and uses[0].node.op_type == "Mul" else None


def declare(model: ir.Model) -> None:
    """Say in the model that it uses our operators."""
    model.opset_imports[DOMAIN] = 1
    model.graph.opset_imports[DOMAIN] = 1
