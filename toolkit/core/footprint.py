"""How much memory a packaged model needs, computed from its files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.core import onnx_inputs
from toolkit.core.onnx_inputs import BadGraph

OVERHEAD_BYTES = 128 << 20
"""Python, ONNX Runtime's libraries, the tokenizer and the graph's working memory, none of which grows with the conversation.

Measured on x86-64 by VmHWM of the sample model's server after one conversation of full length, with two adapters loaded: 328, 407 and 498 MiB
with 256, 2048 and 4096 tokens. Less weights, adapters, cache and scores as counted below, 112 to 114 MiB are left each time."""
HELD_WEIGHTS = 1.5
"""Bytes in memory for each byte of weights on a CPU: ONNX Runtime lays them out anew for its kernels and keeps the file mapped. Measured with
the sample model's 103 MB: 148 MiB of memory of its own once they are loaded, 20 MiB of the file still in use."""
NUMBER_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1}
PAST = "past_key_values."
SHARED = "shared.onnx.data"
"""Weights that a device's merged graphs have in common: beside each of them in the build, once in the image."""
PREFILL_TOKENS = {"cpu": 64, "cuda": 512}
"""Prompt tokens the server takes in at once; each has a row of scores over the vocabulary."""


@dataclass(frozen=True)
class Footprint:
    """What a model takes in memory."""

    weights: int
    """Bytes of the graphs that are held together."""
    adapters: int
    """Bytes of adapters beside a graph."""
    kv_bytes_per_token: int
    """Of one key-value cache."""
    vocab: int
    caches: int = 1
    """Of full length, at least; the server holds more where memory is left."""
    provider: str = "cpu"

    def needed_mb(self, length: int) -> int:
        """MiB with conversations of `length` tokens."""
        return -(-(self._fixed + self.caches * self.kv_bytes_per_token * length) // (1 << 20))

    def longest(self, limit_mb: int) -> int:
        """Tokens of the longest conversation that a limit has room for."""
        room = max(0, (limit_mb << 20) - self._fixed)
        return room // (self.caches * self.kv_bytes_per_token) if self.kv_bytes_per_token else sys.maxsize

    @property
    def _fixed(self) -> int:
        weights = int(self.weights * HELD_WEIGHTS) if self.provider == "cpu" else self.weights
        scores = PREFILL_TOKENS[self.provider] * self.vocab * number_bytes(self.provider)
        return weights + self.adapters + scores + OVERHEAD_BYTES


def provider_of(accelerator: str) -> str:
    return "cpu" if accelerator == "cpu" else "cuda"


def number_bytes(provider: str) -> int:
    """Of a number that passes through a graph: float32 on a CPU, float16 on a GPU."""
    return NUMBER_BYTES["float32" if provider == "cpu" else "float16"]


def footprint_of(content: Path, device: Mapping[str, Any]) -> Footprint | None:
    """What the folder `content` takes; None where its configuration does not say. `device` is the content of its device.json."""
    provider = provider_of(device.get("accelerator", "cpu"))
    try:
        model = json.loads((content / "model" / "genai_config.json").read_text("utf-8"))["model"]
        per_token = _graph_cache(content / "model", model, device) or _told_cache(model["decoder"], provider)
        vocab = int(model["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    beside = sum(path.stat().st_size for path in (content / "adapters").glob("*.onnx_adapter"))
    graphs = device["graphs_in_memory"] if device.get("graphs") else 1
    return Footprint(_weights(content / "model", device), beside, per_token, vocab, caches=graphs, provider=provider)


def needed_mb(content: Path, device: Mapping[str, Any]) -> int:
    """MiB that serving the folder takes with a conversation of full length; 0 where its configuration does not say."""
    found = footprint_of(content, device)
    return found.needed_mb(int(device["max_length"])) if found else 0


def graphs_that_fit(content: Path, device: Mapping[str, Any], limit_mb: int) -> int:
    """So many merged graphs can be in memory together within a limit (0: none); at least one, for without it nothing answers."""
    counts = range(len(device["graphs"]), 1, -1)
    return next((n for n in counts if not limit_mb or needed_mb(content, {**device, "graphs_in_memory": n}) <= limit_mb), 1)


def _graph_cache(model: Path, config: Mapping[str, Any], device: Mapping[str, Any]) -> int:
    """Bytes of a token in the key-value cache by what the graph takes; 0 where that cannot be read."""
    graph = next(iter(device.get("graphs", {}).values()), config["decoder"].get("filename", "model.onnx"))
    try:
        inputs = onnx_inputs.read(model / graph).inputs
    except (BadGraph, OSError):
        return 0
    kinds = [kind for name, kind in inputs.items() if name.startswith(PAST) and len(kind.shape) == 4]
    return sum((kind.shape[1] or 0) * (kind.shape[3] or 0) * NUMBER_BYTES.get(kind.dtype, 4) for kind in kinds)


def _told_cache(decoder: Mapping[str, Any], provider: str) -> int:
    """The same by the configuration: two numbers for each layer, key-value head and place in the head."""
    return 2 * decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"] * number_bytes(provider)


def _weights(model: Path, device: Mapping[str, Any]) -> int:
    if device.get("graphs"):
        return _merged_weights(model, device["graphs"].values(), device["graphs_in_memory"])
    return sum(path.stat().st_size for path in model.glob("*.onnx*"))


def _merged_weights(model: Path, graphs: Iterable[str], in_memory: int) -> int:
    """The largest graphs that are in memory together; each has its own copy of what they share on the disk."""
    shared = sum(path.stat().st_size for path in model.glob(SHARED))
    sizes = sorted((sum(path.stat().st_size for path in model.glob(f"{graph}*")) for graph in graphs), reverse=True)
    return sum(size + shared for size in sizes[:in_memory])
