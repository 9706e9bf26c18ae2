"""An `.onnx_adapter` file: which tensors are in it. It is a FlatBuffer with the mark TORT; nothing here needs ONNX Runtime."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from toolkit.core import lora_pack
from toolkit.core.lora_pack import PACK_INPUT, PackedBranch

MARK = b"TORT"
TYPES = {1: "float32", 2: "uint8", 10: "float16", 16: "bfloat16"}
"""ONNX's numbers of the types that weights have, or that a whole adapter in one tensor has."""


class BadAdapter(ValueError):
    """The file is no adapter, or a damaged one."""


@dataclass(frozen=True)
class TensorKind:
    """Shape and type of a tensor. A size of None is free (the rank)."""

    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        sizes = ", ".join("rank" if size is None else str(size) for size in self.shape)
        return f"({sizes}) of {self.dtype}"

    def takes(self, other: TensorKind) -> bool:
        fits = all(size in (None, has) for size, has in zip(self.shape, other.shape, strict=False))
        return fits and len(self.shape) == len(other.shape) and self.dtype == other.dtype


@dataclass(frozen=True)
class AdapterFile:
    """What an adapter file says of itself."""

    model_version: int
    tensors: dict[str, TensorKind]
    unsound: tuple[str, ...]
    """Tensors that hold values which are no numbers."""
    branches: tuple[PackedBranch, ...] = ()
    """What is in an adapter that is one tensor."""


def read(path: Path) -> AdapterFile:
    """
    Raises:
        BadAdapter: it is no adapter file, or it is cut off.
        OSError: it cannot be read.
    """
    with open(path, "rb") as source:
        try:
            with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(data)
        except (struct.error, IndexError, UnicodeDecodeError, ValueError, KeyError) as exc:
            raise BadAdapter(f"{path.name} is no adapter file, or it is damaged") from exc


def _read(data: mmap.mmap) -> AdapterFile:
    if data[4:8] != MARK:
        raise BadAdapter("the mark is missing")
    _format, _adapter, model_version, listed = _fields(data, _offset(data, 0), 4)
    start = _offset(data, listed)
    tensors, unsound, branches = {}, [], ()
    for number in range(_word(data, start)):
        name, kind, values = _tensor(data, _offset(data, start + 4 + 4 * number))
        tensors[name] = kind
        if name == PACK_INPUT:
            branches = lora_pack.read(values)
        if not _is_sound(values, kind.dtype):
            unsound.append(name)
    return AdapterFile(_word(data, model_version) if model_version else 0, tensors, tuple(unsound), branches)


def _tensor(data: mmap.mmap, at: int) -> tuple[str, TensorKind, bytes]:
    name, sizes, dtype, content = _fields(data, at, 4)
    name_at, sizes_at, content_at = (_offset(data, field) for field in (name, sizes, content))
    shape = struct.unpack_from(f"<{_word(data, sizes_at)}q", data, sizes_at + 4)
    kind = TensorKind(shape, TYPES.get(_word(data, dtype), f"type {_word(data, dtype)}"))
    return _bytes(data, name_at).decode(), kind, _bytes(data, content_at)


def _bytes(data: mmap.mmap, at: int) -> bytes:
    length = _word(data, at)
    if at + 4 + length > len(data):
        raise BadAdapter("it is cut off")
    return data[at + 4 : at + 4 + length]


def _is_sound(values: bytes, dtype: str) -> bool:
    if dtype not in ("float32", "float16"):
        return True
    import numpy as np

    return bool(np.isfinite(np.frombuffer(values, dtype)).all())


def _fields(data: mmap.mmap, at: int, count: int) -> list[int]:
    """Where the first fields of a table lie; 0 for one that has its default."""
    table = at - struct.unpack_from("<i", data, at)[0]
    known = (struct.unpack_from("<H", data, table)[0] - 4) // 2
    places = struct.unpack_from(f"<{known}H", data, table + 4)
    return [at + place if place else 0 for place in (*places, *[0] * count)[:count]]


def _word(data: mmap.mmap, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


def _offset(data: mmap.mmap, at: int) -> int:
    return at + _word(data, at)
