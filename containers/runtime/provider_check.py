"""Whether ONNX Runtime loads its provider for CUDA, asked through ONNX Runtime itself: opened by anybody else that library crashes.

A GPU is not needed for it, the driver's library is with CUDA 13. Standard library only.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_uint32, c_void_p
from pathlib import Path

API_VERSION = 18
"""Of OrtApi; newer libraries serve it too. Its functions keep their places from one version to the next."""
_ERROR_MESSAGE, _CREATE_ENV, _CREATE_SESSION_OPTIONS = 2, 3, 10
_ERRORS_ARE_LOGGED = 3


def complaint(onnxruntime: Path) -> str:
    """Why the provider beside this library does not load; empty: it does. ONNX Runtime writes the reason to stderr, too."""
    library = ctypes.CDLL(str(onnxruntime))
    library.OrtGetApiBase.restype = POINTER(c_void_p)
    api = CFUNCTYPE(POINTER(c_void_p), c_uint32)(library.OrtGetApiBase()[0])(API_VERSION)
    env, options = c_void_p(), c_void_p()
    message = CFUNCTYPE(c_char_p, c_void_p)(api[_ERROR_MESSAGE])
    CFUNCTYPE(c_void_p, c_int, c_char_p, POINTER(c_void_p))(api[_CREATE_ENV])(_ERRORS_ARE_LOGGED, b"check", byref(env))
    CFUNCTYPE(c_void_p, POINTER(c_void_p))(api[_CREATE_SESSION_OPTIONS])(byref(options))
    append = library.OrtSessionOptionsAppendExecutionProvider_CUDA
    append.restype, append.argtypes = c_void_p, (c_void_p, c_int)
    failed = append(options, 0)
    return message(failed).decode(errors="replace") if failed else ""
