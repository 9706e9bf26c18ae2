"""How much memory a packaged model needs, computed from its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

OVERHEAD_BYTES = 176 << 20
"""Python, ONNX Runtime's libraries, the tokenizer and the graph's working memory: what the sample model's server held at its
peak (396 MiB, after 1,771 tokens on x86-64) beyond what is counted below was 163 MiB."""
NUMBER_BYTES = {"float32": 4, "float16": 2}
SHARED = "shared.onnx.data"
"""Weights that a device's merged graphs have in common: beside each of them in the build, once in the image."""
PREFILL_TOKENS = 64
"""Prompt tokens the server takes in at once; each has a row of scores over the vocabulary."""


def needed_mb(content: Path, device: Mapping[str, Any]) -> int:
    """MiB that serving the folder `content` takes with a conversation of full length; 0 where its configuration does not say.

    Weights and adapters are held once, or as many merged graphs as are in memory together; the key-value cache has two numbers for
    each layer, key-value head, place in the head and token. `device` is the content of its device.json.
    """
    try:
        model = json.loads((content / "model" / "genai_config.json").read_text("utf-8"))["model"]
        decoder = model["decoder"]
        per_token = 2 * decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"]
        cache = per_token * NUMBER_BYTES["float32"] * int(device["max_length"])
        scores = PREFILL_TOKENS * model["vocab_size"] * NUMBER_BYTES["float32"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return -(-(_weights(content, device) + cache + scores + OVERHEAD_BYTES) // (1 << 20))


def graphs_that_fit(content: Path, device: Mapping[str, Any], limit_mb: int) -> int:
    """So many merged graphs can be in memory together within a limit (0: none); at least one, for without it nothing answers."""
    counts = range(len(device["graphs"]), 1, -1)
    return next((n for n in counts if not limit_mb or needed_mb(content, {**device, "graphs_in_memory": n}) <= limit_mb), 1)


def _weights(content: Path, device: Mapping[str, Any]) -> int:
    if device.get("graphs"):
        return _merged_weights(content / "model", device["graphs"].values(), device["graphs_in_memory"])
    files = [*(content / "model").glob("*.onnx*"), *(content / "adapters").glob("*.onnx_adapter")]
    return sum(path.stat().st_size for path in files)


def _merged_weights(model: Path, graphs: Iterable[str], in_memory: int) -> int:
    """The largest graphs that are in memory together; each has its own copy of what they share on the disk."""
    shared = sum(path.stat().st_size for path in model.glob(SHARED))
    sizes = sorted((sum(path.stat().st_size for path in model.glob(f"{graph}*")) for graph in graphs), reverse=True)
    return sum(size + shared for size in sizes[:in_memory])
