"""Where every file of the image came from, written into the image: what a bill of materials is made of. Standard library only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = 1


@dataclass(frozen=True)
class Component:
    """What files were taken from."""

    kind: str
    """deb, wheel, or edge for what is made here."""
    name: str
    version: str = ""
    sha256: str = ""
    """Of the wheel."""
    source: str = ""
    """The Debian source package, by which advisories name it."""
    system: str = ""
    """The release that a package is of, such as debian-12."""

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Origin:
    """Where one file came from, and what was done to it on the way."""

    component: Component
    change: str = ""
    """compiled, stripped, or what else it is; empty: the very bytes."""


class Origins:
    """Origins by the place of the file below `layers`."""

    def __init__(self, layers: Path) -> None:
        self._layers = layers
        self._by_path: dict[Path, Origin] = {}

    def add(self, path: Path, component: Component, change: str = "") -> None:
        self._by_path[path] = Origin(component, change)

    def changed(self, path: Path, change: str) -> None:
        """A file whose origin is known was worked on."""
        self.add(path, self._by_path[path].component, change)

    def made_here(self, path: Path, what: str) -> None:
        """A file that this build wrote: a stub, a list."""
        self.add(path, Component("edge", "assembly"), what)

    def became(self, path: Path, other: Path, change: str) -> None:
        """A file was turned into another one, and is gone."""
        self.add(other, self._by_path.pop(path).component, change)

    def write(self, target: Path) -> None:
        """All that is known, as JSON.

        Raises:
            LookupError: there is a file of which nothing is known.
        """
        files = [path for path in sorted(self._layers.rglob("*")) if path.is_file() and not path.is_symlink()]
        unknown = [str(path) for path in files if path not in self._by_path]
        if unknown:
            raise LookupError(f"It is not known where these came from: {', '.join(unknown[:20])}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(self._described(files), indent=1, sort_keys=True) + "\n")

    def _described(self, files: list[Path]) -> dict:
        origins = {self._place(path): (path, self._by_path[path]) for path in files}
        components = {origin.component.id: origin.component for _, origin in origins.values()}
        return {
            "format": FORMAT,
            "components": {name: {key: value for key, value in asdict(found).items() if value} for name, found in components.items()},
            "files": {
                place: {"from": origin.component.id, "sha256": sha256_of(path)} | ({"change": origin.change} if origin.change else {})
                for place, (path, origin) in origins.items()
            },
        }

    def _place(self, path: Path) -> str:
        """In the image: below the layer's own folder."""
        return "/" + "/".join(path.relative_to(self._layers).parts[1:])


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
