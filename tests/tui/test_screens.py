"""The pictures in the documentation are those of today's screens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.pictures import Picture
from tests.tui.screens import FOLDER, drawn, in_docs


@pytest.mark.parametrize("picture", in_docs(), ids=lambda picture: picture.name)
async def test_the_picture_in_the_documentation_is_current(tmp_path: Path, picture: Picture) -> None:
    kept = FOLDER / f"{picture.name}.svg"
    assert kept.exists(), "draw it with `make screens`"
    is_current = kept.read_text("utf-8") == await drawn(picture, tmp_path) + "\n"
    assert is_current, f"{kept.name} is not what the screen looks like: look at it, then `make screens`"


def test_every_picture_in_the_documentation_has_its_screen() -> None:
    assert {path.stem for path in FOLDER.glob("*.svg")} == {picture.name for picture in in_docs()}
