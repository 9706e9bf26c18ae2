"""Whether the GPU that a server was made for can be computed on: asked before the model is loaded, and seen to after.

Without it ONNX Runtime says little, or computes on the CPU. What is refused here says which part is missing and what to do.
Standard library only.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import gpu_driver
from gpu_driver import Driver
from model import ModelError

EXIT_CODE = 3
"""Of a server that was made for a GPU and cannot use one."""
ALLOW_CPU = "To serve on the CPU instead, many times slower: EDGE_ALLOW_CPU=1."
LISTED = Path(__file__).resolve().parent.parent / "cuda" / "set.json"
"""In an image: the libraries that came with it, and what runs them."""
FROM_WHEELS = ("libcudart.so", "libcublasLt.so", "libcublas.so", "libcufft.so", "libcurand.so", "libcudnn.so")
"""Outside of an image: what ONNX Runtime is linked against, in an order in which each finds what it needs."""
TOOLKIT = "nvidia-container-toolkit must be installed on the host"


class GpuError(ModelError):
    """The GPU cannot be used; the message says what is missing and what to do."""


@dataclass(frozen=True)
class CudaSet:
    """The libraries for CUDA that this server computes with."""

    cuda: int = 0
    """Number of the CUDA they are for; 0: it is not known."""
    driver: int = 0
    """The oldest release of the driver that runs them."""
    libraries: tuple[Path, ...] = ()
    compiled: tuple[tuple[int, int], ...] = ()
    """Compute capabilities that there is code for; none: it is not known."""
    newer: bool = True
    """The driver can make code for GPUs newer than these."""


def device_for(asked: str, allow_cpu: bool) -> str:
    """What to load the model on: `cuda` if that was asked for and works.

    Raises:
        GpuError: it does not work, and the CPU was not allowed.
    """
    if asked != "cuda":
        return "cpu"
    try:
        check(cuda_set())
    except GpuError as exc:
        if not allow_cpu:
            raise GpuError(f"{exc} {ALLOW_CPU}") from exc
        print(f"serve: {exc} Serving on the CPU, as EDGE_ALLOW_CPU=1 asks for.", file=sys.stderr, flush=True)
        return "cpu"
    return "cuda"


def check(libraries: CudaSet) -> None:
    """
    Raises:
        GpuError: driver, GPU or a library is missing or does not fit.
    """
    if fault := fault_of(gpu_driver.ask(), libraries, gpu_driver.release()):
        raise GpuError(fault)
    open_libraries(libraries)


def confirm(asked: str, really: str) -> None:
    """After the model was loaded.

    Raises:
        GpuError: it was to be on the GPU, and is not.
    """
    if asked == "cuda" and really != "cuda":
        raise GpuError(f"The model was to run on the GPU, and ONNX Runtime put it on {really}. Its lines above say why. {ALLOW_CPU}")


def cuda_set(listed: Path = LISTED) -> CudaSet:
    """What the image lists; outside of one, what NVIDIA's wheels brought.

    Raises:
        GpuError: the list cannot be read.
    """
    try:
        found = json.loads(listed.read_text())
        compiled = tuple(_pair(said) for said in found["kernels"]["compiled"])
        libraries = tuple(listed.parent / soname for soname in (*found["libraries"], *found["stubs"]))
        return CudaSet(found["cuda"], found["driver"], libraries, compiled, found["kernels"]["newer"])
    except FileNotFoundError:
        return CudaSet(libraries=tuple(_from_wheels()))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise GpuError(f"{listed} cannot be read: {exc!r}. Build the runtime image anew.") from exc


def fault_of(driver: Driver | None, libraries: CudaSet, release: str) -> str:
    """Why these libraries cannot compute with this driver, and the way out; empty: they can."""
    if driver is None:
        return _no_driver(release)
    if 0 < driver.cuda[0] < libraries.cuda:
        older = " Or package for a device with cuda12, which driver 525 runs." if libraries.cuda > 12 and driver.cuda[0] == 12 else ""
        runs = f"The NVIDIA driver{f' {release}' if release else ''} runs CUDA {_dotted(driver.cuda)} at most"
        return f"{runs}, and this image is for CUDA {libraries.cuda}. Install a driver of release {libraries.driver} or newer.{older}"
    if driver.gpu is None:
        return f"The NVIDIA driver gives no GPU: {driver.error}. Look at `nvidia-smi` on the host, at CUDA_VISIBLE_DEVICES, and start anew."
    if not _has_code(libraries, driver.gpu.capability):
        known = ", ".join(map(_dotted, libraries.compiled))
        seen = f"{driver.gpu.name} has compute capability {_dotted(driver.gpu.capability)}"
        other = "cuda12" if libraries.cuda > 12 else "cuda13"
        return f"{seen}, and this ONNX Runtime has code for {known} only. Package for a device with {other}, or use another GPU."
    return ""


def open_libraries(libraries: CudaSet) -> None:
    """Open each by its full path, so that no other one of the same name can be taken for it later.

    Raises:
        GpuError: one does not load, or another of its name was there before.
    """
    for library in libraries.libraries:
        try:
            ctypes.CDLL(str(library))
        except OSError as exc:
            raise GpuError(f"{library.name} does not load: {exc}. Build the runtime image anew.") from exc
    if libraries.cuda:
        _check_mapped(libraries.libraries, mapped_files())


def mapped_files(maps: Path = Path("/proc/self/maps")) -> set[Path]:
    """The shared libraries in this process."""
    paths = (line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if line.count(" ") >= 5 and "/" in line)
    return {Path(path.strip()) for path in paths if ".so" in path}


def _check_mapped(ours: Iterable[Path], mapped: Iterable[Path]) -> None:
    """No library of the set may be in this process out of another place."""
    expected = {path.name: path.resolve() for path in ours}
    for path in sorted(mapped):
        if path.name in expected and path != expected[path.name]:
            raise GpuError(
                f"{path} was loaded in the place of {expected[path.name]}. Leave LD_PRELOAD and LD_LIBRARY_PATH as the image sets them."
            )


def _no_driver(release: str) -> str:
    if release:
        way = f"Start it with `docker run --gpus all`; {TOOLKIT}."
        return f"This server was made for a GPU and was given none: the host has NVIDIA driver {release}, but {gpu_driver.LIBRARY} is not here. {way}"
    way = f"With a GPU in the host: install its driver, and start with `docker run --gpus all`; {TOOLKIT}."
    return f"This server was made for a GPU, and there is no NVIDIA driver here (no {gpu_driver.LIBRARY}). {way}"


def _has_code(libraries: CudaSet, capability: tuple[int, int]) -> bool:
    if not libraries.compiled or any(major == capability[0] and minor <= capability[1] for major, minor in libraries.compiled):
        return True
    return libraries.newer and capability > max(libraries.compiled)


def _from_wheels() -> Iterable[Path]:
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
    for name in FROM_WHEELS:
        yield from sorted(path for folder in folders for path in folder.rglob(f"{name}.*"))


def _pair(said: str) -> tuple[int, int]:
    major, _, minor = said.partition(".")
    return int(major), int(minor)


def _dotted(pair: tuple[int, int]) -> str:
    return f"{pair[0]}.{pair[1]}"
