"""A whole adapter in one tensor of bytes, as our graph operators read it: a header, a record for each branch, the weights.

One tensor, for ONNX Runtime takes in each tensor of an adapter anew at every token. See containers/graph_ops/README.md.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

PACK_INPUT = "lora.pack"
"""The graph input that takes it; empty: no adapter."""
METADATA_KEY = "edge.lora_branches"
"""Under which a graph lists its branches, in the order of their numbers."""
MAGIC, FORMAT = b"EDGELORA", 1
RANK_STEP, ALIGNMENT, MOST_SEGMENTS = 8, 64, 4
_HEAD, _BRANCH, _SEGMENT = struct.Struct("<8sIIQQ32x"), struct.Struct("<IIIIQ8x"), struct.Struct("<IIIIQ")


@dataclass(frozen=True)
class Place:
    """A branch of the graph: its number is where it stands in the list."""

    name: str
    """Such as `model.layers.0.attn.qkv_proj`."""
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Segment:
    """Some outputs of a projection and what they get: t up, t having the ranks of `down`."""

    first_column: int
    down: np.ndarray
    """`[inputs, rank]`"""
    up: np.ndarray
    """`[rank, columns]`"""


def places_as_text(places: Sequence[Place]) -> str:
    return json.dumps([list(asdict(place).values()) for place in places])


def places_of_text(text: str) -> tuple[Place, ...]:
    return tuple(Place(*each) for each in json.loads(text))


def pack(places: Sequence[Place], branches: Mapping[str, Sequence[Segment]]) -> np.ndarray:
    """The adapter's bytes; branches by the names of their places, those that it leaves alone left out."""
    records, weights = [], bytearray()
    start = _HEAD.size + len(places) * (_BRANCH.size + MOST_SEGMENTS * _SEGMENT.size)
    for place in places:
        records.append(_branch(place, [_filled(part) for part in branches.get(place.name, ())], weights, start))
    body = b"".join(records) + bytes(weights)
    mark = hashlib.blake2b(body, digest_size=8).digest()
    head = _HEAD.pack(MAGIC, FORMAT, len(places), int.from_bytes(mark, "little"), _HEAD.size + len(body))
    return np.frombuffer(head + body, np.uint8)


def _filled(part: Segment) -> Segment:
    """The rank filled up with zeros, in 16 bits."""
    missing = -part.down.shape[1] % RANK_STEP
    down, up = np.pad(part.down, ((0, 0), (0, missing))), np.pad(part.up, ((0, missing), (0, 0)))
    return Segment(part.first_column, down.astype(np.float16), up.astype(np.float16))


def _branch(place: Place, parts: Sequence[Segment], weights: bytearray, start: int) -> bytes:
    """The record of a branch; its weights are added to `weights`, which begin at `start`."""
    rank = sum(part.down.shape[1] for part in parts)
    down = np.concatenate([part.down for part in parts], axis=1) if parts else np.zeros((place.inputs, 0), np.float16)
    tiles = down.reshape(place.inputs, rank // RANK_STEP, RANK_STEP).transpose(1, 0, 2)
    record, first_rank = _BRANCH.pack(place.inputs, place.outputs, rank, len(parts), _add(tiles, weights, start)), 0
    for part in parts:
        ranks, columns = part.up.shape
        record += _SEGMENT.pack(part.first_column, columns, first_rank, ranks, _add(part.up, weights, start))
        first_rank += ranks
    return record + bytes((MOST_SEGMENTS - len(parts)) * _SEGMENT.size)


def _add(values: np.ndarray, weights: bytearray, start: int) -> int:
    """Add values at the next aligned place; where that is."""
    weights.extend(bytes(-(start + len(weights)) % ALIGNMENT))
    at = start + len(weights)
    weights.extend(np.ascontiguousarray(values).tobytes())
    return at
