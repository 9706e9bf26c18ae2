"""The app itself: places, keys, help, themes."""

from __future__ import annotations

import pytest

from tests.tui.stage import SMALL, Stage, text_of, until
from toolkit.tui.places import PLACES


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
async def test_every_place_is_one_digit_away(stage: Stage, place) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("6", place.key)
        await until(pilot, lambda: f"{place.key}[{place.title}]" in text_of(pilot.app))


async def test_the_help_names_the_keys_of_the_screen_under_it(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("question_mark")
        await until(pilot, lambda: "Keys here" in text_of(pilot.app))
        assert "New run" in text_of(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: "Keys here" not in text_of(pilot.app))


async def test_the_shade_changes_by_a_key(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        assert pilot.app.theme == "edge-dark"
        await pilot.press("ctrl+t")
        assert pilot.app.theme == "edge-light"
