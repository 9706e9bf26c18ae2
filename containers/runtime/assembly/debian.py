"""Files of the base image, with what Debian says of them. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from origins import Component, Origins

DRIVER = "libcuda.so.1"
"""Comes with the machine's driver, never with an image."""


class Base:
    """The base image as a source of files for one layer."""

    def __init__(self, layer: Path, origins: Origins) -> None:
        self._layer = layer
        self._origins = origins

    def take(self, files: Iterable[Path]) -> None:
        """Copy files to their own places. What a link stands for comes under the link's name.

        A file that no package of Debian's owns ends the build.
        """
        files = sorted(set(files))
        owners = _owners(files)
        strays = [str(path) for path in files if path not in owners]
        if strays:
            sys.exit(f"No package of the base image owns {', '.join(strays)}. Build on an untouched Debian.")
        for path in files:
            target = self._layer / path.relative_to("/")
            copy(path, target)
            self._origins.add(target, component_of(owners[path]))
        for package in sorted(set(owners.values())):
            self._record(package)

    def _record(self, package: str) -> None:
        """Debian's record and licence of a package: scanners read the one, people the other."""
        record = self._layer / "var/lib/dpkg/status.d" / package
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(_status(package))
        self._origins.add(record, component_of(package), "Debian's record of the package")
        licence = Path("/usr/share/doc", package, "copyright")
        if licence.exists():
            target = self._layer / licence.relative_to("/")
            copy(licence, target)
            self._origins.add(target, component_of(package))

    def take_linked(self, binaries: Iterable[Path], beside: tuple[Path, ...]) -> None:
        """The base's libraries that binaries are linked to. `beside`: where libraries of the image's own lie."""
        self.take(library for binary in binaries for library in linked_libraries(binary, beside))
        for name in ("lib", "lib64"):  # as Debian has it: the loader is asked for by its old place
            link = self._layer / name
            if Path("/", name).is_symlink() and (self._layer / "usr" / name).is_dir() and not link.exists():
                link.symlink_to(f"usr/{name}")


def linked_libraries(binary: Path, beside: tuple[Path, ...]) -> set[Path]:
    """Libraries of the base that a binary is linked to, by their place below /usr."""
    environment = {"LD_LIBRARY_PATH": ":".join(map(str, beside))}
    lines = subprocess.run(["ldd", binary], capture_output=True, text=True, env=environment).stdout.splitlines()
    missing = [line.strip() for line in lines if "not found" in line and not line.split()[0].startswith(DRIVER)]
    if missing:
        sys.exit(f"{binary} needs what neither the base nor the wheels have: {missing}")
    words = (word for line in lines for word in line.split() if word.startswith("/"))
    places = {Path(word).parent.resolve() / Path(word).name for word in words}
    return {place for place in places if not any(place.is_relative_to(folder.resolve()) for folder in beside)}


def _owners(files: list[Path]) -> dict[Path, str]:
    """The package of each file. dpkg may know a place from before /usr was merged."""
    asked = {str(path): path for path in files} | {f"/{path.relative_to('/usr')}": path for path in files if path.is_relative_to("/usr")}
    found = subprocess.run(["dpkg-query", "--search", *asked], capture_output=True, text=True).stdout
    owners: dict[Path, str] = {}
    for line in found.splitlines():
        packages, _, place = line.rpartition(": ")
        if place in asked and not packages.startswith("diversion"):
            owners[asked[place]] = packages.split(",")[0].partition(":")[0]
    return owners


@cache
def _status(package: str) -> str:
    return subprocess.run(["dpkg-query", "--status", package], capture_output=True, text=True, check=True).stdout


@cache
def component_of(package: str) -> Component:
    fields = dict(line.split(": ", 1) for line in _status(package).splitlines() if ": " in line and not line.startswith(" "))
    return Component("deb", package, fields["Version"], source=fields.get("Source", package).split()[0], system=_system())


@cache
def _system() -> str:
    told = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return f"{told['ID']}-{told['VERSION_ID']}".replace('"', "")


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
