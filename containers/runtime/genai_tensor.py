"""What the graph computed, copied out of the library's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_int, c_int64, c_size_t, c_void_p
from typing import Any

from genai_library import Handle, call, function

_destroy_tensor = function("OgaDestroyTensor", None, c_void_p)
_tensor_type = call("OgaTensorGetType", c_void_p, POINTER(c_int))
_tensor_rank = call("OgaTensorGetShapeRank", c_void_p, POINTER(c_size_t))
_tensor_shape = call("OgaTensorGetShape", c_void_p, POINTER(c_int64), c_size_t)
_tensor_data = call("OgaTensorGetData", c_void_p, POINTER(c_void_p))

_ELEMENTS = {1: "f", 2: "B", 3: "b", 4: "H", 5: "h", 6: "i", 7: "q", 9: "?", 11: "d", 12: "I", 13: "Q"}
"""Formats of OgaElementType that Python has too: not the 16-bit floats."""


class Tensor(Handle):
    """A tensor in the CPU's memory that the library made for us."""

    def __init__(self, create: Callable[..., Any], *given: Any) -> None:
        super().__init__(create, _destroy_tensor, *given)

    def copy(self) -> memoryview:
        """The elements, one after the other."""
        kind, data = c_int(), c_void_p()
        _tensor_type(self, byref(kind))
        if kind.value not in _ELEMENTS:
            raise RuntimeError(f"Elements of type {kind.value} are not supported")
        _tensor_data(self, byref(data))
        element = _ELEMENTS[kind.value]
        size = self._count() * memoryview(b"").cast(element).itemsize
        return memoryview(ctypes.string_at(data, size)).cast(element)

    def _count(self) -> int:
        rank = c_size_t()
        _tensor_rank(self, byref(rank))
        shape = (c_int64 * rank.value)()
        _tensor_shape(self, shape, rank)
        count = 1
        for length in shape:
            count *= length
        return count
