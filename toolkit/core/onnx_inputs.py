"""The inputs of an ONNX graph and its notes, read from the file without ONNX: a few fields of its Protocol Buffers."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.adapter_file import TYPES, TensorKind

Message = bytes | memoryview

GRAPH, NOTES = 7, 14  # of a model
GRAPH_INPUT = 11
NAME, TYPE = 1, 2  # of a value
TENSOR, ELEMENT, SHAPE = 1, 1, 2  # of a type, and of a tensor's type
DIMENSION, SIZE = 1, 1  # of a shape, and of a dimension


class BadGraph(ValueError):
    """The file is no ONNX graph, or a damaged one."""


@dataclass(frozen=True)
class GraphFile:
    """What a graph takes, and what was noted in it."""

    inputs: dict[str, TensorKind]
    notes: dict[str, str]


def read(path: Path) -> GraphFile:
    """
    Raises:
        BadGraph: it is no graph.
        OSError: it cannot be read.
    """
    with open(path, "rb") as source:
        try:
            with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(bytes(data))
        except (IndexError, KeyError, ValueError, TypeError) as exc:
            raise BadGraph(f"{path.name} is no ONNX graph, or it is damaged") from exc


def _read(data: bytes) -> GraphFile:
    inputs, notes = {}, {}
    for number, value in _fields(memoryview(data)):
        if number == GRAPH:
            inputs = dict(_input(part) for at, part in _fields(value) if at == GRAPH_INPUT)
        if number == NOTES:
            entry = dict(_fields(value))
            notes[bytes(entry[1]).decode()] = bytes(entry.get(2, b"")).decode()
    return GraphFile(inputs, notes)


def _input(value: Message) -> tuple[str, TensorKind]:
    parts = dict(_fields(value))
    tensor = dict(_fields(dict(_fields(parts[TYPE]))[TENSOR]))
    sizes = (dict(_fields(part)) for at, part in _fields(tensor.get(SHAPE, b"")) if at == DIMENSION)
    shape = tuple(size.get(SIZE) for size in sizes)
    return bytes(parts[NAME]).decode(), TensorKind(shape, TYPES.get(tensor[ELEMENT], f"type {tensor[ELEMENT]}"))


def _fields(message: Message) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message."""
    data, at = memoryview(message), 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        else:
            length, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            if at + length > len(data):
                raise ValueError("it is cut off")
            value, at = data[at : at + length], at + length
        yield tag >> 3, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
