"""Read a GGUF model file: its fields, and its tensors as float32. Only the tensor types of the sample model.

Written here rather than taken from the `gguf` package, which brings requests, PyYAML and tqdm for these few lines.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC, VERSION = b"GGUF", 3
DEFAULT_ALIGNMENT = 32
BLOCK = 32
"""Values that share a scale in Q4_1 and Q8_0."""

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_Q4_1 = np.dtype([("scale", "<f2"), ("least", "<f2"), ("pairs", "u1", (BLOCK // 2,))])
_Q8_0 = np.dtype([("scale", "<f2"), ("steps", "i1", (BLOCK,))])


class NotGguf(ValueError):
    """The bytes are not a GGUF file that this reader knows."""


@dataclass(frozen=True)
class GgufTensor:
    name: str
    shape: tuple[int, ...]
    """Rows first, as PyTorch and NumPy say it."""
    type: int
    start: int
    """Offset of the first byte in the file."""


@dataclass(frozen=True)
class GgufFile:
    content: bytes
    fields: dict[str, Any]
    tensors: tuple[GgufTensor, ...]

    def values(self, tensor: GgufTensor) -> np.ndarray:
        """The tensor's numbers as float32."""
        if tensor.type not in _READERS:
            raise NotGguf(f"tensor {tensor.name} has type {tensor.type}, which this reader does not know")
        numbers = _READERS[tensor.type](memoryview(self.content)[tensor.start :], math.prod(tensor.shape))
        return numbers.reshape(tensor.shape)


def read_gguf(content: bytes) -> GgufFile:
    """The file's fields and the places of its tensors.

    Raises:
        NotGguf: not a GGUF file of version 3, or it ends too early.
    """
    try:
        return _read(content)
    except (struct.error, UnicodeDecodeError, KeyError, IndexError) as exc:
        raise NotGguf(f"the file is damaged: {exc}") from exc


def _read(content: bytes) -> GgufFile:
    cursor = _Cursor(content)
    if cursor.take(4) != MAGIC:
        raise NotGguf("the file does not begin with GGUF")
    version = cursor.scalar("<I")
    if version != VERSION:
        raise NotGguf(f"the file has version {version}, this reader knows {VERSION}")
    tensor_count, field_count = cursor.scalar("<Q"), cursor.scalar("<Q")
    fields = {cursor.string(): cursor.value(cursor.scalar("<I")) for _ in range(field_count)}
    places = [_tensor_place(cursor) for _ in range(tensor_count)]
    alignment = fields.get("general.alignment", DEFAULT_ALIGNMENT)
    first = -(-cursor.at // alignment) * alignment
    tensors = tuple(GgufTensor(name, shape, kind, first + offset) for name, shape, kind, offset in places)
    return GgufFile(content, fields, tensors)


def _tensor_place(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string()
    sizes = [cursor.scalar("<Q") for _ in range(cursor.scalar("<I"))]
    return name, tuple(reversed(sizes)), cursor.scalar("<I"), cursor.scalar("<Q")


class _Cursor:
    """A place in the bytes that moves on as values are read."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def take(self, count: int) -> bytes:
        taken = self.content[self.at : self.at + count]
        if len(taken) < count:
            raise IndexError(f"it ends at byte {len(self.content)}")
        self.at += count
        return taken

    def scalar(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self) -> str:
        return self.take(self.scalar("<Q")).decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_SCALARS[kind])
        of, count = self.scalar("<I"), self.scalar("<Q")
        return [self.value(of) for _ in range(count)]


def _plain(form: str) -> Callable[[memoryview, int], np.ndarray]:
    return lambda data, count: np.frombuffer(data, form, count).astype(np.float32)


def _blocks_of_4_bits(data: memoryview, count: int) -> np.ndarray:
    """Q4_1: value = scale * step + least; the low halves of the bytes come first, then the high ones."""
    blocks = np.frombuffer(data, _Q4_1, count // BLOCK)
    steps = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1).astype(np.float32)
    return steps * blocks["scale"].astype(np.float32)[:, None] + blocks["least"].astype(np.float32)[:, None]


def _blocks_of_8_bits(data: memoryview, count: int) -> np.ndarray:
    """Q8_0: value = scale * step."""
    blocks = np.frombuffer(data, _Q8_0, count // BLOCK)
    return blocks["steps"].astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]


_READERS: dict[int, Callable[[memoryview, int], np.ndarray]] = {
    0: _plain("<f4"),
    1: _plain("<f2"),
    3: _blocks_of_4_bits,
    8: _blocks_of_8_bits,
}
