"""What a packaged model needs in memory, by its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.core.footprint import footprint_of, needed_mb

MEASURED = {256: 328, 2048: 407, 4096: 498}
"""Peak of the sample model's server on x86-64 in MiB (VmHWM) after one conversation of so many tokens, two adapters loaded."""


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


@pytest.mark.parametrize("length", MEASURED)
def test_the_estimate_is_a_little_over_what_the_sample_model_was_measured_to_take(tmp_path: Path, length: int) -> None:
    estimate = needed_mb(sample_like(tmp_path), {"max_length": length})
    assert MEASURED[length] <= estimate <= 1.06 * MEASURED[length]


def test_the_longest_conversation_of_a_limit_is_the_last_that_needs_no_more(tmp_path: Path) -> None:
    found = footprint_of(sample_like(tmp_path), {"max_length": 2048})
    longest = found.longest(400)
    assert found.needed_mb(longest) <= 400 < found.needed_mb(longest + 30)
    assert found.longest(64) == 0


def test_caches_of_a_gpu_hold_half_the_bytes_and_merged_graphs_have_one_each(tmp_path: Path) -> None:
    content = sample_like(tmp_path)
    gpu = footprint_of(content, {"max_length": 2048, "accelerator": "cuda12"})
    assert gpu.kv_bytes_per_token == footprint_of(content, {"max_length": 2048}).kv_bytes_per_token // 2
    merged = footprint_of(content, {"graphs": {"": "model.onnx", "travel": "merged-travel.onnx"}, "graphs_in_memory": 2})
    assert merged.caches == 2


def test_what_a_graph_takes_counts_more_than_what_its_configuration_says(tmp_path: Path) -> None:
    content = sample_like(tmp_path)
    (content / "model/model.onnx").write_bytes(graph_with({"past_key_values.0.key": 10, "past_key_values.0.value": 10, "input_ids": 7}))
    assert footprint_of(content, {"max_length": 2048}).kv_bytes_per_token == 2 * 3 * 64 * 2


def graph_with(inputs: dict[str, int]) -> bytes:
    """An ONNX graph that takes these, of [?, 3, ?, 64], each of ONNX's type of that number."""
    free, heads, size = (field(1, part) for part in (field(2, b"batch"), b"\x08\x03", b"\x08\x40"))
    shape = free + heads + free + size
    kinds = {name: field(1, b"\x08" + bytes([kind]) + field(2, shape)) for name, kind in inputs.items()}
    return field(7, b"".join(field(11, field(1, name.encode()) + field(2, kind)) for name, kind in kinds.items()))


def field(number: int, content: bytes) -> bytes:
    """Of a Protocol Buffers message."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + content


def test_a_longer_conversation_needs_more_by_its_cache(tmp_path: Path) -> None:
    content = sample_like(tmp_path)
    more = needed_mb(content, {"max_length": 4096}) - needed_mb(content, {"max_length": 2048})
    assert more == 2048 * (2 * 30 * 3 * 64 * 4) >> 20


def test_nothing_is_guessed_where_the_configuration_does_not_say(tmp_path: Path) -> None:
    content = sample_like(tmp_path)
    (content / "model/genai_config.json").write_text(json.dumps({"model": {"context_length": 200}}))
    assert needed_mb(content, {"max_length": 200}) == 0
    assert needed_mb(tmp_path / "nowhere", {"max_length": 200}) == 0
