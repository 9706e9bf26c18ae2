"""Our own graph operators: one node, and one kernel, where ONNX has several. Used where their library is at hand.

They take a whole adapter in one tensor, where ONNX Runtime has it, in the host's memory, and keep it on the card; without them hundreds of
tensors are taken in, and copied to the card, for every token. See containers/graph_ops.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from graph_library import DOMAIN
from lora_pack import PACK_INPUT

_LORA_TYPES = {"cpu": ir.DataType.FLOAT, "cuda": ir.DataType.FLOAT16}
"""What branches are computed in, by provider."""
MOST_SIBLINGS = 4
"""Branches of one `x` that one node begins."""


def has_branches(provider: str, dtype: ir.DataType) -> bool:
    return _LORA_TYPES.get(provider) == dtype


def pack_input(graph: ir.Graph) -> ir.Value:
    """The graph input for a whole adapter; empty by default, which adds nothing."""
    value = ir.Value(name=PACK_INPUT, shape=ir.Shape(["adapter_bytes"]), type=ir.TensorType(ir.DataType.UINT8))
    value.const_value = ir.tensor(np.zeros(0, np.uint8), name=PACK_INPUT)
    graph.inputs.append(value)
    graph.initializers[PACK_INPUT] = value
    return value


def lora_add(source: ir.Value, plain: ir.Value, pack: ir.Value, branch: int, name: str) -> ir.Node:
    """plain + (source A) B, A and B being those of a branch; the output takes over the memory of `plain`."""
    return ir.node("LoraAdd", [source, plain, pack], {"branch": branch}, domain=DOMAIN, name=name)


def lora_begin(source: ir.Value, pack: ir.Value, branches: list[int], name: str) -> ir.Node:
    """`source` as it is, for the products, which so come later; and source A of all branches, computed beside them."""
    return ir.node("LoraBegin", [source, pack], {"branches": branches}, num_outputs=2, domain=DOMAIN, name=name)


def lora_end(plain: ir.Value, begun: ir.Node, branch: int, name: str) -> ir.Node:
    """plain + (source A) B; it takes the source too, whose memory must not be given away before."""
    attributes = {"branch": branch, "branches": list(begun.attributes["branches"].as_ints())}
    same, begun_sums = begun.outputs
    return ir.node("LoraEnd", [plain, begun_sums, same, begun.inputs[1]], attributes, domain=DOMAIN, name=name)


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
