"""What a packaged model needs in memory, by its files."""

from __future__ import annotations

import json
from pathlib import Path

from toolkit.core.footprint import needed_mb

MEASURED_MB = 396
"""Peak of the sample model's server on x86-64 (VmHWM), in a conversation of 1,771 tokens with an adapter."""
MEASURED_AT = 1771


def sample_like(folder: Path) -> Path:
    """A folder whose files are as large as the packaged sample model's, and whose shape is its own."""
    for name, size in {"model/model.onnx": 427_048, "model/model.onnx.data": 102_987_008}.items():
        _hole(folder / name, size)
    for name in ("persona", "travel"):
        _hole(folder / f"adapters/{name}.onnx_adapter", 23_251_960)
    decoder = {"head_size": 64, "num_hidden_layers": 30, "num_key_value_heads": 3}
    (folder / "model/genai_config.json").write_text(json.dumps({"model": {"decoder": decoder, "vocab_size": 49152}}))
    return folder


def _hole(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(size)


def test_the_estimate_is_a_little_over_what_the_sample_model_was_measured_to_take(tmp_path: Path) -> None:
    estimate = needed_mb(sample_like(tmp_path), {"max_length": MEASURED_AT})
    assert MEASURED_MB <= estimate <= 1.1 * MEASURED_MB


def test_a_longer_conversation_needs_more_by_its_cache(tmp_path: Path) -> None:
    content = sample_like(tmp_path)
    more = needed_mb(content, {"max_length": 4096}) - needed_mb(content, {"max_length": 2048})
    assert more == 2048 * (2 * 30 * 3 * 64 * 4) >> 20


def test_nothing_is_guessed_where_the_configuration_does_not_say(tmp_path: Path) -> None:
    content = sample_like(tmp_path)
    (content / "model/genai_config.json").write_text(json.dumps({"model": {"context_length": 200}}))
    assert needed_mb(content, {"max_length": 200}) == 0
    assert needed_mb(tmp_path / "nowhere", {"max_length": 200}) == 0
