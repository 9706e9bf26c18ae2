"""NVIDIA's driver as the server's process meets it. Standard library only."""

from __future__ import annotations

import ctypes
import re
from ctypes import byref, c_char_p, c_int, create_string_buffer
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "libcuda.so.1"
KERNEL = Path("/proc/driver/nvidia/version")
"""There where the host has a driver, also in a container that was given no GPU."""
_RELEASE = re.compile(r"^NVRM version:.*?\s(\d+\.\d+[\d.]*)\s", re.MULTILINE)
_MAJOR, _MINOR = 75, 76
"""The driver's numbers for the two parts of the compute capability."""


@dataclass(frozen=True)
class Gpu:
    """The one that is computed on: the first."""

    name: str
    capability: tuple[int, int]


@dataclass(frozen=True)
class Driver:
    """What the driver's library answers."""

    cuda: tuple[int, int]
    """The newest CUDA that it runs; (0, 0) where it does not tell."""
    gpu: Gpu | None = None
    error: str = ""
    """Why there is no GPU, in the driver's words."""


def ask(library: str = LIBRARY) -> Driver | None:
    """The driver; None: its library is not here."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return None
    try:
        return _answer(cuda)
    except AttributeError as exc:
        return Driver((0, 0), error=f"that is no driver: {exc}")


def _answer(cuda: ctypes.CDLL) -> Driver:
    version, count = c_int(), c_int()
    cuda.cuDriverGetVersion(byref(version))
    newest = (version.value // 1000, version.value % 1000 // 10)
    code = cuda.cuInit(0) or cuda.cuDeviceGetCount(byref(count))
    if code:
        return Driver(newest, error=_words(cuda, code))
    return Driver(newest, _first_gpu(cuda)) if count.value else Driver(newest, error="it knows no GPU")


def release(kernel: Path = KERNEL) -> str:
    """Such as 580.159.04; empty where there is no driver."""
    try:
        found = _RELEASE.search(kernel.read_text("utf-8", "replace"))
    except OSError:
        return ""
    return found[1] if found else ""


def _words(cuda: ctypes.CDLL, code: int) -> str:
    said = c_char_p(b"")
    cuda.cuGetErrorString(code, byref(said))
    return f"{(said.value or b'unknown error').decode()} ({code})"


def _first_gpu(cuda: ctypes.CDLL) -> Gpu:
    device, major, minor = c_int(), c_int(), c_int()
    name = create_string_buffer(100)
    cuda.cuDeviceGet(byref(device), 0)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(byref(minor), _MINOR, device)
    return Gpu(name.value.decode(errors="replace"), (major.value, minor.value))
