"""Text can be read in every place, in dark and in light, and on a Linux console."""

from __future__ import annotations

import pytest

from tests.tui.looks import named, poorly_readable, strange_signs
from tests.tui.pictures import PICTURES, Picture
from tests.tui.stage import SMALL, Stage
from toolkit.tui.themes import first_theme, other_theme

every_picture = pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)


@every_picture
@pytest.mark.parametrize("shade", ["dark", "light"])
async def test_text_stands_out_from_its_background(stage: Stage, picture: Picture, shade: str) -> None:
    async with picture.shown(stage, SMALL, f"edge-{shade}") as pilot:
        poor = poorly_readable(pilot.app)
        assert not poor, "\n".join(map(str, poor))


@every_picture
async def test_a_linux_console_can_draw_every_sign(stage: Stage, picture: Picture) -> None:
    async with picture.shown(stage, SMALL) as pilot:
        strange = strange_signs(pilot.app)
        assert not strange, named(strange)


@pytest.mark.parametrize(
    ("environ", "theme"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "edge-dark"),
        ({"TERM": "xterm-256color"}, "edge-dark"),
        ({"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "edge-light"),
        ({"TERM": "linux"}, "edge-16-dark"),
        ({"TERM": "screen", "COLORFGBG": "0;7"}, "edge-16-light"),
        ({"TERM": "linux", "COLORTERM": "truecolor"}, "edge-dark"),
    ],
)
def test_the_first_theme_is_what_the_terminal_can_show(environ: dict[str, str], theme: str) -> None:
    assert first_theme("", environ) == theme


def test_what_a_person_chose_wins_over_what_the_terminal_says() -> None:
    assert first_theme("light", {"TERM": "xterm-256color", "COLORFGBG": "15;0"}) == "edge-light"


def test_without_colours_the_terminals_own_ink_and_paper_are_left_alone() -> None:
    assert first_theme("", {"TERM": "xterm-256color", "COLORTERM": "truecolor"}, is_colourless=True) == "edge-16-dark"


@pytest.mark.parametrize("family", ["edge", "edge-16"])
def test_the_other_theme_of_the_other_theme_is_the_first(family: str) -> None:
    assert other_theme(f"{family}-dark") == f"{family}-light"
    assert other_theme(f"{family}-light") == f"{family}-dark"
