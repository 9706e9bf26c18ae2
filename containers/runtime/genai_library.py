"""ONNX Runtime GenAI's shared library: loaded, its functions and errors turned into Python's, its objects freed in time."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import weakref
from collections.abc import Callable
from ctypes import byref, c_char_p, c_void_p
from pathlib import Path
from typing import Any

# Both libraries write a device id and a database under HOME and send events out. This is their documented opt-out, and it counts only
# when set before they are loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _folder(package: str) -> Path:
    """Where a package lies, without importing it: only the libraries are wanted."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"The package {package} is not installed.")
    return Path(next(iter(spec.submodule_search_locations)))


def _open(folder: Path, pattern: str) -> ctypes.CDLL:
    found = sorted(folder.glob(pattern))
    if not found:
        raise ImportError(f"There is no {pattern} in {folder}.")
    return ctypes.CDLL(str(found[0]))


FOLDER = _folder("onnxruntime_genai")
_onnxruntime = _open(_folder("onnxruntime") / "capi", "libonnxruntime.so*")  # first, for GenAI takes the one that is loaded
os.environ["ORT_LIB_PATH"] = _onnxruntime._name
_library = _open(FOLDER, "libonnxruntime-genai.so")
_library.OgaShutdown.restype = None
weakref.finalize(_library, _library.OgaShutdown)  # at exit, after all that was made later: finalizers run last in, first out


def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """A function of the library that cannot fail."""
    found = getattr(_library, name)
    found.restype, found.argtypes = result, arguments
    return found


def call(name: str, *arguments: Any) -> Callable[..., Any]:
    """A function of the library that can fail; then it raises RuntimeError with the library's words, as the package does."""
    found = function(name, c_void_p, *arguments)
    found.errcheck = _raise_error
    return found


def _raise_error(result: int | None, function: object, arguments: tuple) -> None:
    if result is None:
        return
    message = _error_of(result).decode(errors="replace")
    _free_result(result)
    raise RuntimeError(message)


_error_of = function("OgaResultGetError", c_char_p, c_void_p)
_free_result = function("OgaDestroyResult", None, c_void_p)
_free_string = function("OgaDestroyString", None, c_void_p)


def text(value: str) -> bytes:
    """A string as the library takes it."""
    encoded = value.encode()
    if b"\0" in encoded:
        raise ValueError("embedded null character")
    return encoded


def owned_string(pointer: c_void_p) -> str:
    """The text of a string that is ours to free. What is no UTF-8 (a token may be part of a character) is made visible."""
    try:
        return ctypes.string_at(pointer).decode(errors="replace")
    finally:
        _free_string(pointer)


class Handle:
    """An object of the library. It is freed when its Python object goes, and before what it was made from."""

    def __init__(self, create: Callable[..., Any], destroy: Callable[..., Any], *given: Any, needs: tuple[Handle, ...] = ()) -> None:
        pointer = c_void_p()
        create(*given, byref(pointer))
        self._as_parameter_ = pointer
        self._needs = needs
        weakref.finalize(self, destroy, pointer)
