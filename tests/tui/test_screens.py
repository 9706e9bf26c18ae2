"""The pictures in the documentation are those of today's screens."""

from __future__ import annotations

import re

import pytest

from tests.tui.screens import FOLDER, PICTURES, agreed
from toolkit.settings import CHECKOUT
from toolkit.tui.places import PLACES


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_in_the_documentation_is_current(name: str) -> None:
    kept = FOLDER / f"{name}.svg"
    assert kept.exists() and kept.read_bytes() == agreed(name).read_bytes(), "look at the agreed picture, then `make screens`"


def test_every_place_has_its_picture_in_the_documentation() -> None:
    assert {place.name for place in PLACES} <= set(PICTURES)
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(PICTURES)


def test_the_readme_shows_every_picture() -> None:
    assert set(re.findall(r"docs/screens/(\w+)\.svg", (CHECKOUT / "README.md").read_text("utf-8"))) == set(PICTURES)
