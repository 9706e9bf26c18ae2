"""The head of an adapter that is one tensor of bytes: which branches are in it. containers/graph_ops/README.md tells the format."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass

PACK_INPUT = "lora.pack"
PLACES_NOTE = "edge.lora_branches"
"""Under which a graph lists its branches: name, inputs and outputs of each, in the order of their numbers."""
MAGIC, FORMAT = b"EDGELORA", 1
MOST_SEGMENTS, MOST_RANK = 4, 2048
_HEAD, _BRANCH, _SEGMENT = struct.Struct("<8sIIQQ32x"), struct.Struct("<IIIIQ8x"), struct.Struct("<IIIIQ")


@dataclass(frozen=True)
class PackedBranch:
    """What an adapter adds to one projection."""

    inputs: int
    outputs: int
    rank: int
    """0: nothing."""
    is_sound: bool
    """False: it holds values that are no numbers."""


def read(data: bytes) -> tuple[PackedBranch, ...]:
    """
    Raises:
        ValueError: it is no adapter, or a damaged one.
        struct.error: it is cut off.
    """
    magic, version, count, mark, size = _HEAD.unpack_from(data)
    if magic != MAGIC or version != FORMAT or size != len(data):
        raise ValueError("it is of another format, or cut off")
    if int.from_bytes(hashlib.blake2b(data[_HEAD.size :], digest_size=8).digest(), "little") != mark:
        raise ValueError("its content is not what its mark says")
    length = _BRANCH.size + MOST_SEGMENTS * _SEGMENT.size
    return tuple(_branch(data, _HEAD.size + number * length) for number in range(count))


def _branch(data: bytes, at: int) -> PackedBranch:
    inputs, outputs, rank, segments, place = _BRANCH.unpack_from(data, at)
    if segments > MOST_SEGMENTS or rank > MOST_RANK:
        raise ValueError("a branch has too many parts, or too high a rank")
    parts = [_SEGMENT.unpack_from(data, at + _BRANCH.size + number * _SEGMENT.size) for number in range(segments)]
    if any(first + columns > outputs or start + ranks > rank for first, columns, start, ranks, _place in parts):
        raise ValueError("a part of a branch lies outside of it")
    values = [(place, inputs * rank), *((where, ranks * columns) for _first, columns, _start, ranks, where in parts)]
    return PackedBranch(inputs, outputs, rank, all(_is_finite(data, *each) for each in values))


def _is_finite(data: bytes, at: int, count: int) -> bool:
    import numpy as np

    return bool(np.isfinite(np.frombuffer(data, np.float16, count, at)).all()) if count else True


def places(text: str) -> list[tuple[str, int, int]]:
    """Name, inputs and outputs of each branch that a graph has noted."""
    return [(str(name), int(inputs), int(outputs)) for name, inputs, outputs in json.loads(text)]
