"""Our graph operators on a card: that they compute what numpy computes, and what a branch costs.

    python -m tests.bench_gpu.lora_ops --library libedge_graph_ops.so [--only numerics|cost]

Needs onnxruntime-gpu, onnx and numpy. A line for each case; the exit status is 1 where one does not hold. The costs are of whole tokens, replayed
as CUDA graphs, of the projections of Phi-3.5-mini without what lies between them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime

from tests.bench_gpu.lora_cost import measure
from tests.bench_gpu.lora_graphs import HALF, NO_ADAPTER, PACK_INPUT, Case, Graph, bound, on_card, on_host, options_of, pack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", default=str(Path(sys.prefix, "graph_ops", "libedge_graph_ops.so")))
    parser.add_argument("--only", choices=("numerics", "cost"))
    asked = parser.parse_args()
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    failed = 0 if asked.only == "cost" else check_numerics(asked.library)
    if asked.only != "numerics":
        measure(asked.library)
    print(f"{failed} cases do not hold" if failed else "all cases hold")
    return 1 if failed else 0


def check_numerics(library: str) -> int:
    """How many cases do not hold."""
    failed = 0
    for name, error in itertools.chain(plain_cases(library), switching(library), captured(library), malformed(library), silu(library)):
        holds = error < 3e-3
        failed += not holds
        print(f"{'ok ' if holds else 'BAD'} {name}: {error:.1e}", flush=True)
    return failed


def cases() -> Iterator[Case]:
    for rank in (1, 3, 8, 16, 21, 64, 128, 256):
        yield Case(f"rank {rank}", 576, (((1536, rank),),))
    for inputs, outputs in ((3072, 9216), (3072, 3072), (8192, 3072), (72, 8), (64, 200), (8, 8192)):
        yield Case(f"{inputs} to {outputs}", inputs, (((outputs, 16),),))
    yield Case("q, k and v in one", 576, (((576, 16), (192, 5), (192, 8)),))
    yield Case("only k of q, k and v", 576, (((576, 0), (192, 5), (192, 0)),))
    yield Case("gate and up of one x", 576, (((1536, 16),), ((1536, 9),)))
    yield Case("gate without, up with", 576, (((1536, 0),), ((1536, 9),)))
    yield Case("four of one x", 64, (((64, 8),), ((128, 24),), ((32, 1),), ((64, 64),)))


def plain_cases(library: str) -> Iterator[tuple[str, float]]:
    for case in cases():
        session = case.graph().session(library, case.outputs())
        for rows in (1, 2, 8, 9, 100, 2000):
            yield f"{case.name}, {rows} rows", error_of(case, session, rows)


def error_of(case: Case, session, rows: int, seed: int = 5) -> float:
    x = np.random.default_rng(rows).standard_normal((rows, case.inputs)).astype(np.float16)
    segments = case.segments(seed)
    plain = session.run(None, {"x": x, PACK_INPUT: NO_ADAPTER})
    made = session.run(None, {"x": x, PACK_INPUT: pack(case.places, segments)})
    return largest(made, case.wanted(x, plain, segments))


def largest(made: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """The largest difference, as a share of the largest value."""
    return max(
        float(np.abs(one - two).max() / np.abs(two).max()) if np.isfinite(one).all() else np.inf
        for one, two in zip(made, wanted, strict=True)
    )


def switching(library: str) -> Iterator[tuple[str, float]]:
    """Adapters that follow each other, also at one address and within one length of text."""
    case = Case("switching", 576, (((1536, 16),),))
    session, places = case.graph().session(library, case.outputs()), case.places
    adapters = [case.segments(seed) for seed in (1, 2)] + [{}, Case("", 576, (((1536, 40),),)).segments(3)]
    packs = [pack(places, each) for each in adapters[:2]] + [NO_ADAPTER, pack(places, adapters[3])]
    reused = packs[0].copy()
    for rows, step in itertools.product((1, 7), (0, 1, 2, 3, 1, 0, 2, 0)):
        x = np.random.default_rng(step + rows).standard_normal((rows, 576)).astype(np.float16)
        plain = session.run(None, {"x": x, PACK_INPUT: NO_ADAPTER})
        given = packs[step]
        if step < 2:
            reused[:] = given
            given = reused
        made = session.run(None, {"x": x, PACK_INPUT: given})
        yield f"switching to {step}, {rows} rows", largest(made, case.wanted(x, plain, adapters[step]))


def captured(library: str) -> Iterator[tuple[str, float]]:
    """CUDA graphs of several adapters and of none, replayed in turn with other x, a longer prompt between."""
    case = Case("captured", 576, (((576, 16), (192, 5), (192, 8)), ((1536, 64),)))
    plain_session = case.graph().session(library, case.outputs())
    session, places = case.graph().session(library, case.outputs(), is_captured=True), case.places
    adapters = [case.segments(1), case.segments(2), {}]
    packs = [pack(places, adapters[0]), pack(places, adapters[1]), NO_ADAPTER]
    tokens = [Token(session, case, each, number + 1) for number, each in enumerate(packs)]
    for turn, number in enumerate((0, 1, 2, 0, 2, 1, 1, 0)):
        x = np.random.default_rng(turn).standard_normal((1, 576)).astype(np.float16)
        plain = plain_session.run(None, {"x": x, PACK_INPUT: NO_ADAPTER})
        yield f"captured {number}, turn {turn}", largest(tokens[number].run(x), case.wanted(x, plain, adapters[number]))


class Token:
    """One row with fixed memory, captured as a CUDA graph at its first run and replayed after."""

    def __init__(self, session, case: Case, adapter: np.ndarray, number: int):
        self.session = session
        self.x = on_card(np.zeros((1, case.inputs), np.float16))
        self.y = [on_card(np.zeros((1, width), np.float16)) for width in case.outputs().values()]
        self.binding = bound(session, {"x": self.x, PACK_INPUT: on_host(adapter)}, dict(zip(case.outputs(), self.y, strict=True)))
        self.options = options_of(number)

    def run(self, x: np.ndarray) -> list[np.ndarray]:
        self.x.update_inplace(x)
        self.session.run_with_iobinding(self.binding, self.options)
        return [each.numpy() for each in self.y]


def malformed(library: str) -> Iterator[tuple[str, float]]:
    """Adapters that are none: an error, and the next run is as good as before."""
    case = Case("after malformed ones", 576, (((1536, 16),),))
    session = case.graph().session(library, case.outputs())
    good, x = pack(case.places, case.segments(1)).tobytes(), np.zeros((1, 576), np.float16)
    far = good[:64] + good[64:80] + (1 << 40).to_bytes(8, "little") + good[88:]
    for name, bad in {"noise": b"x" * 400, "cut off": good[:-8], "short": good[:70], "far offset": far}.items():
        try:
            session.run(None, {"x": x, PACK_INPUT: np.frombuffer(bad, np.uint8)})
            yield f"malformed, {name}, is not refused", np.inf
        except Exception as error:
            yield f"malformed, {name}, is refused", 0.0 if "does not fit the graph" in str(error) else np.inf
    yield case.name, error_of(case, session, 1)


def silu(library: str) -> Iterator[tuple[str, float]]:
    graph = Graph(True)
    graph.inputs.clear()
    graph.constants.clear()
    names = [graph.add_input(name, HALF, ["rows", 1024]) for name in ("gate", "up")]
    graph.node("SiluMul", names, ["y"])
    session = graph.session(library, {"y": 1024})
    for rows in (1, 300):
        gate, up = (np.random.default_rng(seed).standard_normal((rows, 1024)).astype(np.float16) for seed in (1, 2))
        wanted = gate.astype(np.float32) / (1 + np.exp(-gate.astype(np.float32))) * up.astype(np.float32)
        yield f"SiluMul, {rows} rows", largest(session.run(None, {"gate": gate, "up": up}), [wanted])


if __name__ == "__main__":
    sys.exit(main())
