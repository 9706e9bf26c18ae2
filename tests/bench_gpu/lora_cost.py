"""What a branch costs on a card: whole tokens of the projections of Phi-3.5-mini, replayed as CUDA graphs."""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
from onnx import numpy_helper

from tests.bench_gpu.lora_graphs import (
    BYTES,
    HALF,
    NO_ADAPTER,
    PACK_INPUT,
    Graph,
    Place,
    Segment,
    bound,
    on_card,
    on_host,
    options_of,
    pack,
)

LAYERS, HIDDEN, MIDDLE, GROUP = 32, 3072, 8192, 128
BASE_US = 1923
"""A whole token of Phi-3.5-mini's shape without an adapter: 520 tokens a second."""


def measure(library: str) -> None:
    for has_all, ranks in ((False, (16, 64)), (True, (16,))):
        bare = run_layers(library, has_all, False, ())[0]
        none, *active = run_layers(library, has_all, True, ranks)
        for rank, cost in zip(ranks, active, strict=True):
            branches = LAYERS * (5 if has_all else 2)
            print(
                json.dumps(
                    {
                        "branches": "every projection" if has_all else "qkv and o",
                        "rank": rank,
                        "bare_us": round(bare, 1),
                        "no_adapter_us": round(none, 1),
                        "active_us": round(cost, 1),
                        "us_a_branch": round((cost - none) / branches, 2),
                        "of_a_token_of_1923_us": round(BASE_US / (BASE_US + cost - none), 3),
                    }
                ),
                flush=True,
            )


def run_layers(library: str, has_all: bool, has_branches: bool, ranks: tuple[int, ...]) -> list[float]:
    """Microseconds of a replayed token: without an adapter, then with one of each rank. No branches: without our nodes."""
    graph, weights = Graph(), {}
    h = graph.add_input("x", HALF, [1, HIDDEN])
    for layer in range(LAYERS):
        h = add_layer(graph, weights, h, layer, has_all, has_branches)
    session = graph.session(library, {h: HIDDEN}, is_captured=True)
    fixed = {"x": on_card(np.full((1, HIDDEN), 0.01, np.float16)), **weights}
    timed = []
    for number, rank in enumerate((0, *ranks)):
        adapter = pack(graph.places, whole(graph.places, rank)) if rank else NO_ADAPTER
        out = {h: on_card(np.zeros((1, HIDDEN), np.float16))}
        inputs = {**fixed, PACK_INPUT: on_host(adapter)} if has_branches else fixed
        timed.append(time_of(session, bound(session, inputs, out), options_of(number + 1)))
    return timed


def whole(places: list[Place], rank: int) -> dict[str, list[Segment]]:
    return {
        place.name: [Segment(0, np.full((place.inputs, rank), 1e-3, np.float16), np.full((rank, place.outputs), 1e-3, np.float16))]
        for place in places
    }


def time_of(session, binding, options) -> float:
    for _ in range(20):
        session.run_with_iobinding(binding, options)
    rounds = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(50):
            session.run_with_iobinding(binding, options)
        rounds.append((time.perf_counter() - began) / 50 * 1e6)
    return statistics.median(rounds)


def add_layer(graph: Graph, weights: dict, h: str, layer: int, has_all: bool, has_branches: bool) -> str:
    """qkv, o, and with `has_all` gate, up and down as well; what lies between is left out."""

    def projections(x: str, named: dict[str, tuple[int, int]], is_branched: bool) -> list[str]:
        begun = graph.begin(x, list(named.values())) if is_branched else None
        made = []
        for at, (name, (inputs, outputs)) in enumerate(named.items()):
            plain = add_product(graph, weights, begun.x if begun else x, f"{name}_{layer}", inputs, outputs)
            made.append(graph.end(begun, begun.numbers[at], plain, f"{plain}_done") if begun else plain)
        return made

    (qkv,) = projections(h, {"qkv": (HIDDEN, 3 * HIDDEN)}, has_branches)
    if layer == 0:
        for name, value in (("from", 0), ("to", HIDDEN), ("axis", 1)):
            graph.constants.append(numpy_helper.from_array(np.array([value], np.int64), name))
    graph.node("Slice", [qkv, "from", "to", "axis"], [f"q_{layer}"], domain="")
    (o,) = projections(f"q_{layer}", {"o": (HIDDEN, HIDDEN)}, has_branches)
    sizes = {"gate": (HIDDEN, MIDDLE), "up": (HIDDEN, MIDDLE)}
    gate, up = projections(o, sizes, has_branches and has_all)
    graph.node("SiluMul", [gate, up], [f"middle_{layer}"])
    (down,) = projections(f"middle_{layer}", {"down": (MIDDLE, HIDDEN)}, has_branches and has_all)
    return down


def add_product(graph: Graph, weights: dict, x: str, name: str, inputs: int, outputs: int) -> str:
    groups = inputs // GROUP
    packed, scales = f"{name}_packed", f"{name}_scales"
    graph.add_input(packed, BYTES, [outputs, groups, GROUP // 2])
    graph.add_input(scales, HALF, [outputs * groups])
    weights[packed] = on_card(np.full((outputs, groups, GROUP // 2), 0x97, np.uint8))
    weights[scales] = on_card(np.full(outputs * groups, 1e-3, np.float16))
    attributes = {"K": inputs, "N": outputs, "bits": 4, "block_size": GROUP, "accuracy_level": 2}
    graph.node("MatMulNBits", [x, packed, scales], [f"{name}_plain"], domain="com.microsoft", **attributes)
    return f"{name}_plain"
