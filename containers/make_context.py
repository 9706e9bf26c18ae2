"""Lay out the build context of an image: `python make_context.py runtime|build FOLDER [--flavour cpu] [--python 3.11]`.

The context holds the Dockerfile, the programs, and `wheels/`: the image build itself needs no network for Python
packages. The folder may be used again; wheels that are there already are kept.
`builder` in the place of an image lays out no more than the older model builder, for a local environment of a flavour.
`--python` is the version that the base image has or will get: 3.11 on Debian 12, 3.12 on Ubuntu 24.04.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from graph_ops.build import build_library
from resolve_wheels import MACHINES, PYTHONS, ResolveError, resolve

CONTAINERS = Path(__file__).resolve().parent
SHARED = tuple(
    CONTAINERS.parent / "toolkit" / "core" / f"{name}.py"
    for name in ("events", "machine", "elf", "cuda_driver", "cuda_stack", "cuda_verdict")
)
"""The files that the build image shares with the host side."""
FLAVOURS = ("cpu", "cuda12", "cuda13")
DEFAULT_PYTHON = {"cpu": "3.11", "cuda12": "3.12", "cuda13": "3.12"}
"""Of the base that a flavour of the build image is made on where no other is chosen."""
RUNTIME_PYTHON = "3.11"
"""Of Debian 12, on which every flavour of the runtime image is made: NVIDIA's libraries come as wheels."""
WITH_OLDER_BUILDER = ("cuda13",)
"""Flavours whose own model builder Olive cannot drive: see build/model_builder.py."""
BUILDER = "onnxruntime_genai/models/"


def make_context(image: str, folder: Path, flavour: str, machine: str, python: str) -> None:
    """Everything that `docker build FOLDER` needs for an image."""
    if image == "builder":
        lay_out_builder(folder, flavour, machine, python)
        return
    source = CONTAINERS / image
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "Dockerfile", folder / "Dockerfile")
    programs = _emptied(folder / "programs")
    _copy_programs(source, programs)
    if image == "build":
        for shared in SHARED:
            shutil.copyfile(shared, programs / shared.name)
        lay_out_builder(folder / "model_builder", flavour, machine, python)
        lay_out_operators(folder / "graph_ops", machine)
    if image == "runtime":
        shutil.rmtree(folder / "assembly", ignore_errors=True)
        shutil.move(programs / "assembly", folder / "assembly")
    resolve(source / f"{flavour}.lock", folder / "wheels", machine, python)


def lay_out_builder(folder: Path, flavour: str, machine: str, python: str) -> None:
    """The older model builder's Python files where a flavour needs it, else an empty folder."""
    _emptied(folder)
    if flavour not in WITH_OLDER_BUILDER:
        return
    with tempfile.TemporaryDirectory() as wheels:
        resolve(CONTAINERS / "build" / "model-builder.lock", Path(wheels), machine, python)
        (wheel,) = Path(wheels).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.startswith(BUILDER)])


def lay_out_operators(folder: Path, machine: str) -> None:
    """The library of our graph operators, where this machine can compile it for that one; else an empty folder."""
    _emptied(folder)
    if machine == platform.machine() and not build_library(folder):
        print("make_context: no C++ compiler (g++) here; adapters will run by ONNX's own operators, which is slower.", file=sys.stderr)


def _copy_programs(source: Path, programs: Path) -> None:
    """The Python files of an image's folder and of the packages in it."""
    for path in sorted(source.rglob("*.py")):
        target = programs / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Lay out the build context of an image.")
    parser.add_argument("image", choices=("build", "builder", "runtime"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flavour", choices=FLAVOURS, default="cpu")
    parser.add_argument("--machine", choices=sorted(MACHINES), default=platform.machine())
    parser.add_argument("--python", choices=PYTHONS, help="version of the image's Python; default: that of the flavour's default base")
    given = parser.parse_args(argv)
    python = given.python or (RUNTIME_PYTHON if given.image == "runtime" else DEFAULT_PYTHON[given.flavour])
    try:
        make_context(given.image, given.folder, given.flavour, given.machine, python)
    except ResolveError as exc:
        print(f"make_context: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
