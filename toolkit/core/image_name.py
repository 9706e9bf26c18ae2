"""What a packaged image is called, and whose it is: several homes may use one engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.engine import LABEL, Image, ImageEngine

HOME = f"{LABEL}.home"
"""Label with the mark of the home that made it."""
MARK_IN_TAG = 6
"""So many digits of the mark stand in a tag."""


@dataclass(frozen=True)
class ImageName:
    """The name that an image is to get."""

    tag: str
    taken: str = ""
    """The plain name, where another home's image has it."""

    @property
    def note(self) -> str:
        """Why it is not the plain name, for people; empty: it is."""
        return f"{self.taken} is an image of another home and stays; this one is {self.tag}." if self.taken else ""


def mark_of(runs: Path) -> str:
    """Tells what one home (by its folder of runs) keeps in an engine from what another keeps there."""
    return hashlib.sha256(str(runs.resolve()).encode()).hexdigest()[:8]


def owners(engine: ImageEngine) -> dict[str, str]:
    """The mark of each packaged image's home, by its names; empty: it bears none."""
    return {tag: image.labels.get(HOME, "") for image in engine.images(f"{LABEL}.kind=image") for tag in image.tags}


def image_name(recipe: str, device: str, build: str, mark: str, owned: Mapping[str, str]) -> ImageName:
    """`edge-toolkit/<recipe>-<device>:<build number>`, with the home's mark behind it where that is another home's."""
    plain = f"edge-toolkit/{recipe}-{device}:{build.partition('-')[0]}"
    if owned.get(plain, mark) == mark:
        return ImageName(plain)
    return ImageName(f"{plain}-{mark[:MARK_IN_TAG]}", plain)


def is_strange(image: Image, mark: str, is_made_here: bool) -> bool:
    """It belongs to another home; one without a mark, made by an earlier version, is known by the run that made it."""
    return image.labels[HOME] != mark if HOME in image.labels else not is_made_here
