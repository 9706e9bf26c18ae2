"""ONNX Runtime itself through its C API: graphs run on memory that is ours.

GenAI keeps a key-value cache for itself, one per generation. To run several generations as the rows of one batch, each with its own length, the
cache must be ours. The functions are found by their place in the library's table, which only ever grows at its end.
"""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from dataclasses import dataclass
from pathlib import Path

import genai_library  # noqa: F401 - finds the library and loads it, its telemetry turned off

API_VERSION = 20
"""The first with adapters."""

FLOAT, INT64, FLOAT16 = 1, 7, 10
"""Of ONNXTensorElementDataType."""

ITEM_SIZES = {FLOAT: 4, INT64: 8, FLOAT16: 2}
WARNINGS = 3
"""Severity from which the library speaks: errors. It warns of each adapter weight that a graph takes as an input."""

_library = ctypes.CDLL(os.environ["ORT_LIB_PATH"])


class _ApiBase(ctypes.Structure):
    _fields_ = [("get_api", ctypes.CFUNCTYPE(c_void_p, ctypes.c_uint32)), ("version", c_void_p)]


_library.OrtGetApiBase.restype = POINTER(_ApiBase)
_table = ctypes.cast(_library.OrtGetApiBase().contents.get_api(API_VERSION), POINTER(c_void_p))


def _call(place: int, *arguments: object) -> ctypes._CFuncPtr:
    """A function of the table that can fail; then it raises RuntimeError with the library's words."""
    found = ctypes.CFUNCTYPE(c_void_p, *arguments)(_table[place])
    found.errcheck = _raise_error
    return found


def _free(place: int) -> ctypes._CFuncPtr:
    return ctypes.CFUNCTYPE(None, c_void_p)(_table[place])


def _raise_error(status: int | None, function: object, arguments: tuple) -> None:
    if status is None:
        return
    message = _error_of(status).decode(errors="replace")
    _free_status(status)
    raise RuntimeError(message)


_OUT = POINTER(c_void_p)
_error_of = ctypes.CFUNCTYPE(c_char_p, c_void_p)(_table[2])
_free_status = _free(93)
_create_env = _call(3, c_int, c_char_p, _OUT)
_create_session = _call(7, c_void_p, c_char_p, c_void_p, _OUT)
_create_session_from_array = _call(8, c_void_p, c_char_p, c_size_t, c_void_p, _OUT)
_run = _call(9, c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p)
_create_session_options = _call(10, _OUT)
_set_log_severity = _call(22, c_void_p, c_int)
_set_intra_op_threads = _call(24, c_void_p, c_int)
_input_count = _call(30, c_void_p, POINTER(c_size_t))
_output_count = _call(31, c_void_p, POINTER(c_size_t))
_input_type = _call(33, c_void_p, c_size_t, _OUT)
_output_type = _call(34, c_void_p, c_size_t, _OUT)
_input_name = _call(36, c_void_p, c_size_t, c_void_p, _OUT)
_output_name = _call(37, c_void_p, c_size_t, c_void_p, _OUT)
_add_setting = _call(130, c_void_p, c_char_p, c_char_p)
_create_run_options = _call(39, _OUT)
_create_tensor = _call(49, c_void_p, c_void_p, c_size_t, POINTER(c_int64), c_size_t, c_int, _OUT)
_tensor_info = _call(55, c_void_p, _OUT)
_element_type = _call(60, c_void_p, POINTER(c_int))
_rank = _call(61, c_void_p, POINTER(c_size_t))
_dimensions = _call(62, c_void_p, POINTER(c_int64), c_size_t)
_create_memory_info = _call(69, c_int, c_int, _OUT)
_allocator_free = _call(76, c_void_p, c_void_p)
_default_allocator = _call(78, _OUT)
_register_operators = _call(228, c_void_p, c_char_p)
_create_adapter = _call(280, c_char_p, c_void_p, _OUT)
_add_active_adapter = _call(283, c_void_p, c_void_p)
_free_session, _free_value, _free_run_options, _free_type, _free_session_options = _free(95), _free(96), _free(97), _free(98), _free(100)
_free_adapter = _free(282)


def _made(create: ctypes._CFuncPtr, *given: object) -> c_void_p:
    pointer = c_void_p()
    create(*given, byref(pointer))
    return pointer


_environment = _made(_create_env, WARNINGS, b"edge")
_cpu_memory = _made(_create_memory_info, 1, 0)  # an arena's, the default kind
_allocator = _made(_default_allocator)


class _Handle:
    """An object of the library, freed with its Python object."""

    def __init__(self, pointer: c_void_p, free: ctypes._CFuncPtr) -> None:
        self._as_parameter_ = pointer
        weakref.finalize(self, free, pointer)


class Tensor(_Handle):
    """A tensor over memory that somebody else keeps alive, at least as long as this."""

    def __init__(self, address: int, shape: Sequence[int], kind: int) -> None:
        size = ITEM_SIZES[kind]
        for length in shape:
            size *= length
        dimensions = (c_int64 * len(shape))(*shape)
        super().__init__(_made(_create_tensor, _cpu_memory, address, size, dimensions, len(shape), kind), _free_value)


class Adapter(_Handle):
    """The weights in an `.onnx_adapter` file."""

    def __init__(self, path: Path) -> None:
        super().__init__(_made(_create_adapter, os.fsencode(path), None), _free_adapter)


class RunOptions(_Handle):
    """A run with an adapter; many runs may share it."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__(_made(_create_run_options), _free_run_options)
        self._adapter = adapter
        _add_active_adapter(self, adapter)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    kind: int
    shape: tuple[int, ...]
    """-1 where it is free."""


class Session:
    """A graph, ready to run."""

    def __init__(self, graph: Path | bytes, *, threads: int = 0, operators: Path | None = None) -> None:
        """`operators`: a library of operators that the graph needs. `threads`: 0 leaves it to the library."""
        options = _Handle(_made(_create_session_options), _free_session_options)
        _set_log_severity(options, WARNINGS)
        # As long as from one operator to the next: threads that wait asleep lose a quarter of all tokens where the machine is ours alone, threads
        # that spin on lose a third where somebody else wants the core, and this loses next to nothing in either.
        _add_setting(options, b"session.intra_op.spin_duration_us", b"20")
        if threads:
            _set_intra_op_threads(options, threads)
        if operators:
            _register_operators(options, os.fsencode(operators))
        if isinstance(graph, bytes):
            session = _made(_create_session_from_array, _environment, graph, len(graph), options)
        else:
            session = _made(_create_session, _environment, os.fsencode(graph), options)
        self._handle = _Handle(session, _free_session)

    def inputs(self) -> dict[str, Port]:
        return self._ports(_input_count, _input_name, _input_type)

    def outputs(self) -> dict[str, Port]:
        return self._ports(_output_count, _output_name, _output_type)

    def _ports(self, ask_count: ctypes._CFuncPtr, ask_name: ctypes._CFuncPtr, ask_type: ctypes._CFuncPtr) -> dict[str, Port]:
        count = c_size_t()
        ask_count(self._handle, byref(count))
        return {self._name(ask_name, place): self._port(ask_type, place) for place in range(count.value)}

    def _name(self, ask: ctypes._CFuncPtr, place: int) -> str:
        text = _made(ask, self._handle, place, _allocator)
        try:
            return ctypes.string_at(text).decode()
        finally:
            _allocator_free(_allocator, text)

    def _port(self, ask: ctypes._CFuncPtr, place: int) -> Port:
        kind = _Handle(_made(ask, self._handle, place), _free_type)
        info = _made(_tensor_info, kind)  # a part of `kind`
        element, rank = c_int(), c_size_t()
        _element_type(info, byref(element))
        _rank(info, byref(rank))
        shape = (c_int64 * rank.value)()
        _dimensions(info, shape, rank)
        return Port(element.value, tuple(shape))

    def run(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], options: RunOptions | None = None) -> None:
        """Compute `outputs`, into the memory that they stand for."""
        _run(self._handle, options, *_list(inputs), len(inputs), *_outputs(outputs))


def _list(tensors: Mapping[str, Tensor]) -> tuple[ctypes.Array, ctypes.Array]:
    return _names(tuple(tensors)), (c_void_p * len(tensors))(*[tensor._as_parameter_.value for tensor in tensors.values()])


@functools.lru_cache(maxsize=64)
def _names(names: tuple[str, ...]) -> ctypes.Array:
    """The same ones at every token."""
    return (c_char_p * len(names))(*(name.encode() for name in names))


def _outputs(tensors: Mapping[str, Tensor]) -> tuple[ctypes.Array, int, ctypes.Array]:
    names, values = _list(tensors)
    return names, len(tensors), values
