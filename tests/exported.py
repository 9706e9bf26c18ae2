"""Files as an export leaves them, made without ONNX or ONNX Runtime: a graph's inputs, and an adapter."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np

ADAPTER_INPUT = "model.layers.0.attn.o_proj.lora_A"


def adapter(path: Path, tensors: dict[str, np.ndarray], version: int = 1, dtype: int = 1) -> Path:
    """A file as ONNX Runtime writes it: a FlatBuffer with the mark TORT."""
    out = bytearray(struct.pack("<I4s", 0, b"TORT"))

    def table(*fields: bytes) -> int:
        """Append a vtable and its table of four-byte fields; where the table lies."""
        out.extend(b"\0" * (-len(out) % 4))
        vtable = len(out)
        out.extend(struct.pack(f"<HH{len(fields)}H", 4 + 2 * len(fields), 4 + 4 * len(fields), *(4 + 4 * n for n in range(len(fields)))))
        out.extend(b"\0" * (-len(out) % 4))
        at = len(out)
        out.extend(struct.pack("<i", at - vtable) + b"".join(fields))
        return at

    def point(field: int, to: int) -> None:
        struct.pack_into("<I", out, field, to - field)

    root = table(*(struct.pack("<I", value) for value in (1, 1, version, 0)))
    struct.pack_into("<I", out, 0, root)
    listed = len(out)
    point(root + 16, listed)
    out.extend(struct.pack("<I", len(tensors)) + b"\0" * 4 * len(tensors))
    for number, (name, values) in enumerate(tensors.items()):
        at = table(*(struct.pack("<I", value) for value in (0, 0, dtype, 0)))
        point(listed + 4 + 4 * number, at)
        for field, content in ((4, name.encode()), (8, struct.pack(f"<{values.ndim}q", *values.shape)), (16, values.tobytes())):
            point(at + field, len(out))
            count = values.ndim if field == 8 else len(content)
            out.extend(struct.pack("<I", count) + content + b"\0" * (-len(content) % 4))
    path.write_bytes(out)
    return path


def field(number: int, content: bytes | int) -> bytes:
    """A field of a Protocol Buffers message."""

    def varint(value: int) -> bytes:
        return varint_of(value)

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint_of(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint_of(value >> 7)


def graph(path: Path, inputs: dict[str, tuple], base: str = "", element: int = 1, places: list | None = None) -> Path:
    """An ONNX file with these inputs, of one type; a size that is a text is a free one. `places`: the branches that it notes."""

    def dimension(size: int | str) -> bytes:
        return field(1, field(1, size) if isinstance(size, int) else field(2, size.encode()))

    def described(name: str, shape: tuple) -> bytes:
        return field(1, name.encode()) + field(2, field(1, field(1, element) + field(2, b"".join(map(dimension, shape)))))

    notes = {"edge.base": base, "edge.lora_branches": json.dumps(places) if places else ""}
    noted = b"".join(field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in notes.items() if value)
    path.write_bytes(field(1, 8) + field(7, b"".join(field(11, described(*item)) for item in inputs.items())) + noted)
    return path


def packed(*branches: tuple[int, int, int], weight: float = 1.0) -> np.ndarray:
    """A whole adapter in one tensor: inputs, outputs and rank of each branch."""
    records, weights, start = b"", b"", 64 + 128 * len(branches)
    for inputs, outputs, rank in branches:
        down = start + len(weights)
        weights += np.full(rank * (inputs + outputs), weight, np.float16).tobytes()
        segment = struct.pack("<IIIIQ", 0, outputs, 0, rank, down + 2 * rank * inputs)
        records += struct.pack("<IIIIQ8x", inputs, outputs, rank, 1 if rank else 0, down) + segment + bytes(72)
    body = records + weights
    mark = int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "little")
    return np.frombuffer(struct.pack("<8sIIQQ32x", b"EDGELORA", 1, len(branches), mark, 64 + len(body)) + body, np.uint8)


def pair(folder: Path) -> Path:
    """A graph and an adapter that fits it, as `model.onnx` and `adapter`."""
    folder.mkdir(parents=True, exist_ok=True)
    graph(folder / "model.onnx", {"input_ids": ("batch", "length"), ADAPTER_INPUT: (8, "rank")})
    adapter(folder / "adapter", {ADAPTER_INPUT: np.ones((8, 2), np.float32)})
    return folder
