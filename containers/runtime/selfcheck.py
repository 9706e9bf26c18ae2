"""Does everything in this image load? Every shared library with all its symbols, and every Python module. Exit code 0 or 1.

Run when the image is built; in a finished one: `docker run --rm --entrypoint /usr/bin/python3 IMAGE -S /opt/edge/server/selfcheck.py`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import provider_check

EDGE = Path("/opt/edge")
FIRST = ("libonnxruntime.so", "libonnxruntime_providers_shared.so")
"""Others are linked to what these have, without naming them."""
DRIVER = "libcuda.so.1"
"""Of the machine, not of the image."""
PROVIDER = "libonnxruntime_providers_cuda.so"
"""ONNX Runtime alone can open it: it crashes in other hands."""


def main() -> int:
    problems = [*_problems(_libraries(), _load), *_problems(_modules(), importlib.import_module)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _problems(things: list, load: Callable[[object], object]) -> Iterator[str]:
    for thing in things:
        try:
            load(thing)
        except Exception as exc:  # whatever it is, it is what is looked for
            yield f"{thing} does not load: {type(exc).__name__}: {exc}"
    print(f"{len(things)} loaded")


def _load(library: Path) -> None:
    if library.name == PROVIDER:
        _load_provider(library)
        return
    try:
        ctypes.CDLL(str(library), mode=os.RTLD_NOW | (os.RTLD_GLOBAL if library.name.startswith(FIRST) else 0))
    except OSError as exc:
        if not str(exc).startswith(DRIVER):
            raise
        print(f"{library} not tried: NVIDIA's driver is not here")


def _load_provider(library: Path) -> None:
    """Through ONNX Runtime. With CUDA 13 it is linked to the driver."""
    complaint = provider_check.complaint(next(library.parent.glob("libonnxruntime.so*")))
    if complaint and _driver_is_here():
        raise OSError(complaint)
    if complaint:
        print(f"{library} not tried: NVIDIA's driver is not here")


def _driver_is_here() -> bool:
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _libraries() -> list[Path]:
    folders = (EDGE / "packages", EDGE / "cuda", *(Path(place) for place in sys.path if place.endswith("lib-dynload")))
    found = [path for folder in folders for path in sorted(folder.rglob("*.so*")) if not path.is_symlink()]
    return sorted(found, key=lambda path: not path.name.startswith(FIRST))


def _modules() -> list[str]:
    """Every module of the folders that are searched for modules."""
    found = {name for place in map(Path, sys.path) if place.is_dir() for name in _names(place)}
    return sorted(name for name in found if not name.rpartition(".")[2].startswith("__main__"))


def _names(place: Path) -> Iterator[str]:
    for path in place.rglob("*.py*"):
        parts = path.relative_to(place).parts
        folders_are_packages = all((place.joinpath(*parts[:count]) / "__init__.pyc").exists() for count in range(1, len(parts)))
        if "__pycache__" not in parts and folders_are_packages:
            yield ".".join((*parts[:-1], path.stem) if path.stem != "__init__" else parts[:-1])


if __name__ == "__main__":
    sys.exit(main())
