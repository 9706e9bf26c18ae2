"""Parts of a decoder by name, as recipes say which of them keep more bits: projections, the first and the last layer.

A graph may hold q, k, v in one projection, or gate and up apart: a name reaches whatever holds some of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

IN_THE_GRAPH = {
    "q_proj": {"attn.q_proj", "attn.qkv_proj"},
    "k_proj": {"attn.k_proj", "attn.qkv_proj"},
    "v_proj": {"attn.v_proj", "attn.qkv_proj"},
    "qkv_proj": {"attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.qkv_proj"},
    "o_proj": {"attn.o_proj"},
    "gate_proj": {"mlp.gate_proj"},
    "up_proj": {"mlp.up_proj"},
    "gate_up_proj": {"mlp.gate_proj", "mlp.up_proj"},
    "down_proj": {"mlp.down_proj"},
}
"""Projection -> what it may be called in a graph."""
ENDS = ("first_layer", "last_layer")
KNOWN = (*IN_THE_GRAPH, *ENDS)

_BLOCK = re.compile(r"layers\.(\d+)[./]")


def is_named(name: str, parts: Iterable[str], layers: int) -> bool:
    """One of the parts is, or reaches, this layer (`model.layers.3.mlp.down_proj`) or node (`/model/layers.3/mlp/down_proj/MatMul`)."""
    block = _BLOCK.search(name)
    if not block:
        return False
    ends = {"first_layer": 0, "last_layer": layers - 1}
    own = {".".join(name.split("/")[-3:-1])} if "/" in name else IN_THE_GRAPH.get(name.rpartition(".")[2], set())
    return any(int(block[1]) == ends[part] if part in ends else bool(own & IN_THE_GRAPH[part]) for part in parts)
