"""How much memory a packaged model needs, computed from its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

OVERHEAD_BYTES = 176 << 20
"""Python, ONNX Runtime's libraries, the tokenizer and the graph's working memory: what the sample model's server held at its
peak (396 MiB, after 1,771 tokens on x86-64) beyond what is counted below was 163 MiB."""
NUMBER_BYTES = {"float32": 4, "float16": 2}
PREFILL_TOKENS = 64
"""Prompt tokens the server takes in at once; each has a row of scores over the vocabulary."""


def needed_mb(content: Path, device: Mapping[str, object]) -> int:
    """MiB that serving the folder `content` takes with a conversation of full length; 0 where its configuration does not say.

    Weights and adapters are held once; the key-value cache has two numbers for each layer, key-value head, place in the head and
    token. `device` is the content of its device.json.
    """
    try:
        model = json.loads((content / "model" / "genai_config.json").read_text("utf-8"))["model"]
        decoder = model["decoder"]
        per_token = 2 * decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"]
        cache = per_token * NUMBER_BYTES["float32"] * int(device["max_length"])
        scores = PREFILL_TOKENS * model["vocab_size"] * NUMBER_BYTES["float32"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return -(-(_weights(content) + cache + scores + OVERHEAD_BYTES) // (1 << 20))


def _weights(content: Path) -> int:
    files = [*(content / "model").glob("*.onnx*"), *(content / "adapters").glob("*.onnx_adapter")]
    return sum(path.stat().st_size for path in files)
