"""Two ONNX graphs of one and two nodes, written in the format's own bytes: the package that makes graphs is no part of an image."""

from __future__ import annotations

FLOAT, INT64 = 1, 7
IR_VERSION, OPERATORS = 8, 13
INTEGER, INTEGERS = 2, 7
"""Of AttributeProto.AttributeType."""


def top_graph() -> bytes:
    """The `count` largest of `scores` [1, n]: `values` and where they stood, `tokens`, largest first."""
    node = _node("TopK", ("scores", "count"), ("values", "tokens"), _whole("axis", -1) + _whole("largest", 1) + _whole("sorted", 1))
    return _graph([node], {"scores": (FLOAT, 2), "count": (INT64, 1)}, {"values": (FLOAT, 2), "tokens": (INT64, 2)})


def log_sum_graph() -> bytes:
    """The logarithm of the sum of the exponentials of `scores` [1, n] times `factor` [1]."""
    scale = _node("Mul", ("scores", "factor"), ("scaled",))
    add = _node("ReduceLogSumExp", ("scaled",), ("sum",), _whole("keepdims", 1) + _wholes("axes", [1]))
    return _graph([scale, add], {"scores": (FLOAT, 2), "factor": (FLOAT, 1)}, {"sum": (FLOAT, 2)})


def _graph(nodes: list[bytes], inputs: dict[str, tuple[int, int]], outputs: dict[str, tuple[int, int]]) -> bytes:
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"edge")
    graph += b"".join(_bytes(11, _value(name, *kind)) for name, kind in inputs.items())
    graph += b"".join(_bytes(12, _value(name, *kind)) for name, kind in outputs.items())
    return _number(1, IR_VERSION) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, OPERATORS))


def _node(operator: str, inputs: tuple[str, ...], outputs: tuple[str, ...], attributes: bytes = b"") -> bytes:
    names = b"".join(_bytes(1, name.encode()) for name in inputs) + b"".join(_bytes(2, name.encode()) for name in outputs)
    return names + _bytes(4, operator.encode()) + attributes


def _whole(name: str, value: int) -> bytes:
    return _bytes(5, _bytes(1, name.encode()) + _number(3, value) + _number(20, INTEGER))


def _wholes(name: str, values: list[int]) -> bytes:
    return _bytes(5, _bytes(1, name.encode()) + b"".join(_number(8, value) for value in values) + _number(20, INTEGERS))


def _value(name: str, kind: int, rank: int) -> bytes:
    """A tensor of any lengths."""
    shape = _bytes(2, b"".join(_bytes(1, _bytes(2, f"{name}_{axis}".encode())) for axis in range(rank)))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, kind) + shape))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value % 2**64)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
