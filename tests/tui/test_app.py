"""The app itself: places, keys, help, themes."""

from __future__ import annotations

import pytest

from tests.tui import homes
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from toolkit.core import events as ev
from toolkit.tui.places import PLACES
from toolkit.tui.widgets.dialogs import Confirm


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


async def test_the_palette_offers_every_place_and_nothing_of_the_toolbox_underneath(stage: Stage) -> None:
    async with stage.app().run_test(size=LARGE) as pilot:
        offered = [command.title for command in pilot.app.get_system_commands(pilot.app.screen)]
        assert [title for title in offered if title.startswith("Go to")] == [f"Go to {place.title}" for place in PLACES]
        assert not {"Maximize", "Minimize", "Theme", "Screenshot"} & set(offered)


async def test_the_palette_goes_to_a_place(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("ctrl+p", *"doctor")
        await until(pilot, lambda: "Go to Doctor" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "6[Doctor]" in text_of(pilot.app))


async def test_a_picture_of_the_screen_is_saved_and_the_person_is_told_where(stage: Stage) -> None:
    async with stage.app().run_test(size=LARGE, notifications=True) as pilot:
        await pilot.press("ctrl+p", *"picture")
        await until(pilot, lambda: "Save a picture" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "Saved" in text_of(pilot.app))
        [saved] = (stage.settings.home / "pictures").glob("*.svg")
        assert "Publish" in saved.read_text("utf-8")


async def test_light_and_dark_change_with_a_key(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("ctrl+t")
        assert pilot.app.theme == "edge-light"
        await pilot.press("ctrl+t")
        assert pilot.app.theme == "edge-dark"


async def test_quitting_works_while_a_dialog_waits_for_an_answer(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        pilot.app.push_screen(Confirm("Delete it?"))
        await until(pilot, lambda: "Delete it?" in text_of(pilot.app))
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not pilot.app.is_running)


async def test_keys_work_on_an_empty_home_still_when_the_help_was_closed(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "No runs yet" in text_of(pilot.app))
        for _ in range(2):
            await pilot.press("question_mark")
            await until(pilot, lambda: "Keys here" in text_of(pilot.app))
            await pilot.press("q")
            await until(pilot, lambda: "Keys here" not in text_of(pilot.app))
        await pilot.press("6")
        await until(pilot, lambda: "6[Doctor]" in text_of(pilot.app))


async def test_a_run_that_ends_is_told_in_whichever_place_is_shown(stage: Stage) -> None:
    run = homes.running_build(stage)
    async with stage.app().run_test(size=SMALL, notifications=True) as pilot:
        await until(pilot, lambda: run.id in text_of(pilot.app))
        await pilot.press("6")
        await until(pilot, lambda: "6[Doctor]" in text_of(pilot.app))
        looks = pilot.app.roster.looks
        await until(pilot, lambda: pilot.app.roster.looks > looks + 1)
        stage.engine.says(run, ev.StepFailed(at=NOW, step="finetune-travel", error="no room on the disk"))
        stage.engine.dies(run, 1)
        await until(pilot, lambda: f"{run.id} failed" in text_of(pilot.app) and "no room on the" in text_of(pilot.app))


async def test_the_palette_offers_what_the_keys_of_the_screen_do_and_every_run(stage: Stage) -> None:
    homes.finished_build(stage)
    async with stage.app().run_test(size=LARGE) as pilot:
        await until(pilot, lambda: "0001-build-travel" in text_of(pilot.app))
        offered = [command.title for command in pilot.app.get_system_commands(pilot.app.screen)]
        assert {"Stop", "Resume", "Delete", "Pack (package)", "Open run 0001-build-travel"} <= set(offered)
        await pilot.press("ctrl+p", *"open run")
        await until(pilot, lambda: "Open run 0001" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "took" in text_of(pilot.app))


async def test_where_a_question_mark_is_text_the_footer_names_f1(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "? Keys" in text_of(pilot.app))
        await pilot.press("slash")
        await until(pilot, lambda: "F1 Keys" in text_of(pilot.app))
        await pilot.press("f1")
        await until(pilot, lambda: "Everywhere" in text_of(pilot.app) or "This place" in text_of(pilot.app))


async def test_the_same_is_noticed_once_at_a_time(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL, notifications=True) as pilot:
        for _ in range(3):
            pilot.app.notify("There is no run yet.")
        await until(pilot, lambda: "There is no run yet." in text_of(pilot.app))
        assert text_of(pilot.app).count("There is no run yet.") == 1
