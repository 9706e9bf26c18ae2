"""Lay out the build context of an image: `python make_context.py runtime|build FOLDER [--flavour cpu]`.

The context holds the Dockerfile, the programs, and `wheels/`: the image build itself needs no network for Python
packages. The folder may be used again; wheels that are there already are kept.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from resolve_wheels import MACHINES, ResolveError, resolve

CONTAINERS = Path(__file__).resolve().parent
SHARED = tuple(CONTAINERS.parent / "toolkit" / "core" / name for name in ("events.py", "machine.py"))
"""The files that the build image shares with the host side."""


def make_context(image: str, folder: Path, flavour: str, machine: str) -> None:
    """Everything that `docker build FOLDER` needs for an image."""
    source = CONTAINERS / image
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "Dockerfile", folder / "Dockerfile")
    programs = _emptied(folder / "programs")
    _copy_programs(source, programs)
    if image == "build":
        for shared in SHARED:
            shutil.copyfile(shared, programs / shared.name)
    if image == "runtime":
        shutil.move(programs / "assemble.py", folder / "assemble.py")
    resolve(source / f"{flavour}.lock", folder / "wheels", machine)


def _copy_programs(source: Path, programs: Path) -> None:
    """The Python files of an image's folder and of the packages in it."""
    for path in sorted(source.rglob("*.py")):
        target = programs / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Lay out the build context of an image.")
    parser.add_argument("image", choices=("runtime", "build"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flavour", choices=("cpu",), default="cpu")
    parser.add_argument("--machine", choices=sorted(MACHINES), default=platform.machine())
    given = parser.parse_args(argv)
    try:
        make_context(given.image, given.folder, given.flavour, given.machine)
    except ResolveError as exc:
        print(f"make_context: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
