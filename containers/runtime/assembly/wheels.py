"""The wheels that the image is made from. Files are taken out of them by name; nothing else comes in. Standard library only."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from origins import Component, Origins, sha256_of

NOTICES = ("*.dist-info/METADATA", "*.dist-info/licen[cs]es/*", "*.dist-info/LICEN[CS]E*")
"""What says which version of what this is, to scanners, and on what terms, to people."""


class Shelf:
    """The wheels of a folder, by the name of their project."""

    def __init__(self, folder: Path, origins: Origins) -> None:
        self._origins = origins
        self._wheels = {re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower(): wheel for wheel in sorted(folder.glob("*.whl"))}
        tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
        foreign = [wheel.name for wheel in self._wheels.values() if "-cp3" in wheel.name and f"-{tag}-" not in wheel.name]
        if foreign:
            sys.exit(f"The base image has Python {sys.version.split()[0]}; the wheels are not for it: {foreign}")

    @property
    def projects(self) -> tuple[str, ...]:
        return tuple(self._wheels)

    def any_of(self, *projects: str) -> str:
        """The one of these projects that is here."""
        (found,) = [project for project in projects if project in self._wheels]
        return found

    def take(self, project: str, patterns: tuple[str, ...], folder: Path, flat: bool = False) -> list[Path]:
        """The members of a project's wheel that match; `*` goes over folders too. `flat` drops their folders."""
        wheel = self._wheels[project]
        component = Component("wheel", project, wheel.name.split("-")[1], sha256_of(wheel))
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            unmatched = [pattern for pattern in patterns if not fnmatch.filter(names, pattern)]
            if unmatched:
                sys.exit(f"{wheel.name} has no {', '.join(unmatched)}")
            taken = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
            targets = {name: folder / (Path(name).name if flat else name) for name in taken}
            for name, target in targets.items():
                _copy_out(archive, name, target)
                self._origins.add(target, component)
        return list(targets.values())

    def take_modules(self, project: str, members: set[str], folder: Path) -> None:
        """Those of the members that a project has, and its notices."""
        with zipfile.ZipFile(self._wheels[project]) as archive:
            wanted = tuple(name for name in archive.namelist() if name in members)
        self.take(project, wanted, folder)
        self.take_notices(project, folder)

    def take_notices(self, project: str, folder: Path) -> None:
        """Name, version and licence of a project."""
        with zipfile.ZipFile(self._wheels[project]) as archive:
            names = archive.namelist()
        self.take(project, tuple(pattern for pattern in NOTICES if fnmatch.filter(names, pattern)), folder)

    def strip(self, path: Path) -> None:
        """Without the symbols that nobody links to. Only for libraries of which a run has shown that they bear it."""
        subprocess.run(["strip", "--strip-unneeded", path], check=True)
        self._origins.changed(path, "stripped")


def _copy_out(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
