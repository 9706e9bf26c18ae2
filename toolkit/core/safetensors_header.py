"""What a safetensors file says it holds, from its first bytes, and whether it holds it. Standard library only."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000
"""The format's own limit; more means that this is no safetensors file."""


class BadTensors(ValueError):
    """The file is not a whole safetensors file; the text says why."""


@dataclass(frozen=True)
class TensorEntry:
    dtype: str
    """The format's name: F32, F16, BF16, I8."""
    shape: tuple[int, ...]
    bytes: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of the file by name.

    Raises:
        BadTensors: the header is broken, or the file is not as long as the header promises.
    """
    size = path.stat().st_size
    with open(path, "rb") as source:
        length = int.from_bytes(source.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or length > LONGEST_HEADER:
            raise BadTensors(_no_header(path, size))
        text = source.read(length)
    if len(text) < length:
        raise BadTensors(f"truncated: file has {size} bytes, its header alone takes {LENGTH_BYTES + length}")
    entries, data_bytes = _entries(text)
    promised = LENGTH_BYTES + length + data_bytes
    if size != promised:
        fault = "truncated" if size < promised else "too long"
        raise BadTensors(f"{fault}: file has {size} bytes, header promises {promised}")
    return entries


def _no_header(path: Path, size: int) -> str:
    with open(path, "rb") as source:
        if source.read(23) == b"version https://git-lfs":
            return "a Git LFS pointer, not the weights"
    return f"no safetensors header in its {size} bytes"


def _entries(text: bytes) -> tuple[dict[str, TensorEntry], int]:
    """The tensors, and where their data ends."""
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        entries, data_bytes = {}, 0
        for name, about in header.items():
            begin, end = about["data_offsets"]
            entries[name] = TensorEntry(str(about["dtype"]), tuple(int(size) for size in about["shape"]), end - begin)
            data_bytes = max(data_bytes, end)
        return entries, data_bytes
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BadTensors("its header is not readable") from exc
