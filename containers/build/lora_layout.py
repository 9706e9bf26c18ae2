"""Which rows of which Hugging Face layer stand behind each projection of the exported graph.

A graph may hold q, k, v in one projection where Hugging Face has three layers, or gate and up apart where it has one.
The layout is written into the graph's metadata, so that an adapter can be fitted to the graph without the model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

METADATA_KEY = "edge.lora"


@dataclass(frozen=True)
class Part:
    """Outputs of a graph projection that come from `rows` rows of a Hugging Face layer, from row `start` on."""

    layer: str
    """Name inside the block, such as `self_attn.q_proj`."""
    start: int
    rows: int
    is_trained: bool
    """False: no adapter changes these outputs, they only take up their place."""


@dataclass(frozen=True)
class Sizes:
    """The widths of a decoder's projections."""

    hidden: int
    queries: int
    keys: int
    middle: int

    @classmethod
    def of(cls, config: dict) -> Sizes:
        heads = config["num_attention_heads"]
        head_size = config.get("head_dim") or config["hidden_size"] // heads
        key_heads = config.get("num_key_value_heads") or heads
        return cls(config["hidden_size"], heads * head_size, key_heads * head_size, config["intermediate_size"])


Layout = dict[str, tuple[Part, ...]]
"""By the projection's name in the graph, such as `attn.qkv_proj`."""


def layout(config: dict, targets: list[str]) -> Layout:
    """Every projection that the graph may have and that one of the targets reaches. Not all of them occur together."""
    sizes = Sizes.of(config)
    trains = set(targets)
    return {
        name: parts
        for name, parts in _all_projections(sizes, config["model_type"] == "phi3", trains).items()
        if any(part.is_trained for part in parts)
    }


def _all_projections(sizes: Sizes, is_fused: bool, trains: set[str]) -> Layout:
    def part(layer: str, start: int, rows: int) -> Part:
        return Part(layer, start, rows, is_trained=layer.rsplit(".", 1)[-1] in trains)

    total = sizes.queries + 2 * sizes.keys
    if is_fused:
        queries = part("self_attn.qkv_proj", 0, sizes.queries)
        keys = part("self_attn.qkv_proj", sizes.queries, sizes.keys)
        values = part("self_attn.qkv_proj", sizes.queries + sizes.keys, sizes.keys)
        packed = (part("self_attn.qkv_proj", 0, total),)
        gate = part("mlp.gate_up_proj", 0, sizes.middle)
        up = part("mlp.gate_up_proj", sizes.middle, sizes.middle)
    else:
        queries = part("self_attn.q_proj", 0, sizes.queries)
        keys = part("self_attn.k_proj", 0, sizes.keys)
        values = part("self_attn.v_proj", 0, sizes.keys)
        packed = (queries, keys, values)
        gate, up = part("mlp.gate_proj", 0, sizes.middle), part("mlp.up_proj", 0, sizes.middle)
    return {
        "attn.qkv_proj": packed,
        "attn.q_proj": (queries,),
        "attn.k_proj": (keys,),
        "attn.v_proj": (values,),
        "attn.o_proj": (part("self_attn.o_proj", 0, sizes.hidden),),
        "mlp.gate_proj": (gate,),
        "mlp.up_proj": (up,),
        "mlp.down_proj": (part("mlp.down_proj", 0, sizes.hidden),),
    }


def as_plain(projections: Layout) -> dict[str, list[dict]]:
    """The layout as JSON can hold it."""
    return {name: [asdict(part) for part in parts] for name, parts in projections.items()}


def from_plain(plain: dict[str, list[dict]]) -> Layout:
    return {name: tuple(Part(**part) for part in parts) for name, parts in plain.items()}


def input_name(block: int, projection: str, side: str) -> str:
    """The graph input for `side` A or B of a projection's adapter."""
    return f"model.layers.{block}.{projection}.lora_{side}"
