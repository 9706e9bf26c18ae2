"""Images: what is packaged, what it is made of, and what can be done with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.fakes import FakeImages
from tests.tui.shelf import add_build, add_image, retag
from tests.tui.stage import LARGE, SMALL, Stage, text_of, until
from toolkit.core.engine import Image
from toolkit.core.image_name import mark_of
from toolkit.tui.messages import ShowImage
from toolkit.tui.pace import Pace
from toolkit.tui.screens.run import RunScreen
from toolkit.tui.widgets.dialogs import AskText, Confirm
from toolkit.tui.widgets.image_table import ImageTable
from toolkit.tui.widgets.package_dialog import PackageDialog

OLD, NEW = "edge-toolkit/travel-cpu:0001", "edge-toolkit/travel-cpu:0004"


@pytest.fixture
def shelf(stage: Stage) -> Stage:
    """Two images of one recipe, of which one adapter was trained again."""
    add_image(stage, 1, {"persona": "p1", "travel": "t1"}, age=90_000)
    add_image(stage, 4, {"persona": "p2", "travel": "t1"}, age=4000)
    return stage


async def opened(pilot: Pilot, text: str) -> None:
    await pilot.press("3")
    await until(pilot, lambda: text in text_of(pilot.app))


def is_on_run(pilot: Pilot, run: str) -> bool:
    """The run screen is open on it."""
    return isinstance(pilot.app.screen, RunScreen) and run in text_of(pilot.app)


async def test_images_are_listed_by_device_the_newest_first(shelf: Stage) -> None:
    add_image(shelf, 5, {"travel": "t1"}, device="cuda12")
    async with shelf.app().run_test(size=LARGE) as pilot:
        await opened(pilot, OLD)
        shown = text_of(pilot.app)
        assert shown.index(NEW) < shown.index(OLD) < shown.index("travel-cuda12:0005")


async def test_an_image_tells_what_changed_since_the_one_before_it_and_what_a_device_pulls(shelf: Stage) -> None:
    async with shelf.app().run_test(size=LARGE) as pilot:
        await opened(pilot, f"Since {OLD}: new adapter persona (23.3 MB)")
        shown = text_of(pilot.app)
        assert "A device with that image pulls up to 46.5 MB." in shown
        rows = {line[4:].split("  ")[0]: line.split()[-2] for line in shown.splitlines() if line.startswith(("│ A a", "│ C c"))}
        assert rows == {"adapter persona": "new", "adapter travel": "again", "configuration": "again"}


async def test_an_image_tells_its_run_its_recipe_and_its_smoke_answers(shelf: Stage) -> None:
    async with shelf.app().run_test(size=LARGE) as pilot:
        await opened(pilot, "The capital of France is Paris.")
        assert "made by 0002-package-travel | build 0004-build-travel" in text_of(pilot.app)
        assert "recipe travel 4543" in text_of(pilot.app)


async def test_the_cursor_chooses_what_is_told(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, f"Since {OLD}")
        await pilot.press("down")
        await until(pilot, lambda: "The first image of its recipe and device here." in text_of(pilot.app))


async def test_the_app_can_choose_an_image(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        pilot.app.screen.post_message(ShowImage(OLD))
        await until(pilot, lambda: "The first image of its recipe" in text_of(pilot.app))


async def test_removing_asks_and_says_what_is_lost(shelf: Stage) -> None:
    retag(shelf, shelf.images.known[NEW], "127.0.0.1:5000/travel:0004")
    async with shelf.app().run_test(size=LARGE) as pilot:
        await opened(pilot, NEW)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        asked = text_of(pilot.app)
        assert "46.5 MB become free" in asked and "Made by 0002-package-travel." in asked
        assert "0004-build-travel is not here" in asked and "127.0.0.1:5000/travel:0004" in asked
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))
        assert NEW in shelf.images.known


async def test_a_removed_image_goes_with_all_its_names_and_leaves_the_list(shelf: Stage) -> None:
    retag(shelf, shelf.images.known[NEW], "127.0.0.1:5000/travel:0004")
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, NEW)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: NEW not in text_of(pilot.app) and OLD in text_of(pilot.app))
        assert list(shelf.images.known) == [OLD]


async def test_an_image_removed_elsewhere_disappears(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, NEW)
        shelf.images.untag(NEW)
        await until(pilot, lambda: NEW not in text_of(pilot.app))
        assert OLD in text_of(pilot.app)


async def test_an_engine_that_is_down_is_told_and_what_it_holds_comes_back_with_it(shelf: Stage) -> None:
    shelf.is_engine_down = True
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "The Docker engine does not answer.")
        assert "systemctl start docker" in text_of(pilot.app)
        assert "What the engine holds is shown when it answers." in text_of(pilot.app) and "No images yet" not in text_of(pilot.app)
        shelf.is_engine_down = False
        await until(pilot, lambda: NEW in text_of(pilot.app) and "does not answer" not in text_of(pilot.app))


async def test_a_list_that_was_empty_has_the_keys_once_it_is_filled(stage: Stage) -> None:
    async with stage.app(Pace("quick", 0.05, 0.05)).run_test(size=SMALL) as pilot:
        await opened(pilot, "No images yet")
        add_image(stage, 1)
        await until(pilot, lambda: "Images 1" in text_of(pilot.app) and pilot.app.focused is pilot.app.screen.query_one(ImageTable))


async def test_a_filter_narrows_the_list_and_escape_widens_it(shelf: Stage) -> None:
    add_image(shelf, 9, {"other": "o"}, device="cuda12", recipe="cooking")
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, NEW)
        await pilot.press("slash", *"cook")
        await until(pilot, lambda: NEW not in text_of(pilot.app) and "cooking-cuda12:0009" in text_of(pilot.app))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: NEW in text_of(pilot.app))


async def test_a_filter_that_fits_nothing_says_so(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, NEW)
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: "Nothing fits the filter." in text_of(pilot.app))


async def test_without_images_it_says_how_to_get_one(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "No images yet. p packages a finished build.")
        await pilot.press("p")
        await until(pilot, lambda: "There is no finished build to package." in text_of(pilot.app))


async def test_packaging_a_finished_build_starts_a_run_and_shows_it(stage: Stage) -> None:
    build = add_build(stage)
    async with stage.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "No images yet")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PackageDialog) and build.id in text_of(pilot.app))
        pilot.app.screen.query_one(Input).value = "700"
        await pilot.press("enter")
        await until(pilot, lambda: is_on_run(pilot, "0002-package-travel"))
        run = stage.bench.run("2")
        options = run.request["steps"][0]["options"]
        assert (options["build"], options["device"], options["memory_mb"]) == (build.id, "cpu", 700)
        assert stage.engine.starts == [run.id]


async def test_a_memory_limit_that_is_too_small_is_not_taken(stage: Stage) -> None:
    add_build(stage)
    async with stage.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "No images yet")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PackageDialog))
        await pilot.press("tab", "1", "enter")
        await until(pilot, lambda: "a whole number of MB from 64 to 1048576" in text_of(pilot.app))
        assert stage.bench.runs()[-1].kind == "build"


async def test_a_memory_limit_in_letters_is_refused_at_its_field_not_dropped(stage: Stage) -> None:
    add_build(stage)
    async with stage.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "No images yet")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PackageDialog))
        await pilot.press("tab", *"abc", "enter")
        await until(pilot, lambda: "a whole number of MB" in text_of(pilot.app))
        field = pilot.app.screen.query_one(Input)
        assert field.has_class("-invalid") and field.has_focus and field.value == "abc"
        assert stage.bench.runs()[-1].kind == "build"


async def test_where_another_home_has_the_name_the_dialog_and_the_run_tell_the_one_it_gets(stage: Stage) -> None:
    build = add_build(stage)
    add_image(stage, 1, home="0123abcd")
    tag = f"{OLD}-{mark_of(stage.settings.runs)[:6]}"
    async with stage.app().run_test(size=LARGE) as pilot:
        await opened(pilot, "another home")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PackageDialog) and f"this one is {tag}" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: is_on_run(pilot, "0002-package-travel"))
        options = stage.bench.run("2").request["steps"][0]["options"]
        assert (options["build"], options["tag"]) == (build.id, tag) and OLD in options["note"]


async def test_images_of_another_home_say_so_and_come_last(shelf: Stage) -> None:
    add_image(shelf, 7, {"other": "o"}, recipe="aaa", home="0123abcd")
    async with shelf.app().run_test(size=LARGE) as pilot:
        await opened(pilot, "another home")
        rows = text_of(pilot.app).splitlines()
        place = {name: next(at for at, row in enumerate(rows) if name in row) for name in (NEW, OLD, "aaa-cpu:0007")}
        assert place[NEW] < place[OLD] < place["aaa-cpu:0007"] and "another home" in rows[place["aaa-cpu:0007"]]
        assert "another home" not in rows[place[OLD]]


async def test_home_end_and_pages_go_through_a_long_list(stage: Stage) -> None:
    for number in range(1, 31):
        add_image(stage, number, {"travel": f"t{number}"}, age=1000 * number)
    async with stage.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "Images 30")
        table = pilot.app.screen.query_one(ImageTable)
        await pilot.press("end")
        await until(pilot, lambda: table.chosen.endswith(":0030") and "0030" in text_of(pilot.app))
        await pilot.press("pageup")
        await until(pilot, lambda: 0 < table.cursor_row < 29)
        await pilot.press("home")
        await until(pilot, lambda: table.chosen.endswith(":0001"))
        await pilot.press("pagedown")
        await until(pilot, lambda: 0 < table.cursor_row < 29)


async def test_exporting_asks_for_the_file_and_starts_a_run(shelf: Stage, tmp_path: Path) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, NEW)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskText))
        assert "are free in" in text_of(pilot.app)
        pilot.app.screen.query_one(Input).value = str(tmp_path / "x.tar")
        await pilot.press("enter")
        await until(pilot, lambda: is_on_run(pilot, "0003-export-travel"))
        options = shelf.bench.run("3").request["steps"][0]["options"]
        assert (options["image"], options["file"]) == (NEW, str(tmp_path / "x.tar"))


async def test_a_file_that_is_there_is_overwritten_only_when_told(shelf: Stage, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("mine")
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, NEW)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskText))
        pilot.app.screen.query_one(Input).value = str(tmp_path / "x.tar")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm) and "Overwrite" in text_of(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))
        assert not [run for run in shelf.bench.runs() if run.kind == "export"]


async def test_the_id_of_an_image_is_copied(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL, notifications=True) as pilot:
        await opened(pilot, f"Since {OLD}")
        await pilot.press("y")
        assert pilot.app.clipboard == shelf.images.known[NEW].id
        await until(pilot, lambda: "Copied, if this terminal lets programs copy." in text_of(pilot.app))


class Counting(FakeImages):
    """Counts how often it was asked for its images."""

    asked = 0

    def images(self, label: str) -> list[Image]:
        self.asked += 1
        return super().images(label)


async def test_a_screen_that_is_not_shown_asks_the_engine_nothing(stage: Stage) -> None:
    stage.images = Counting()
    add_image(stage)
    async with stage.app(Pace("quick", 0.05, 0.05)).run_test(size=SMALL) as pilot:
        await opened(pilot, OLD)
        screen, asked = pilot.app.screen, stage.images.asked
        await until(pilot, lambda: stage.images.asked > asked)
        await pilot.press("2")
        await until(pilot, lambda: not any(worker.node is screen and worker.is_running for worker in pilot.app.workers))
        asked, beats = stage.images.asked, []
        pilot.app.set_interval(0.05, lambda: beats.append(1))
        await until(pilot, lambda: len(beats) > 5)
        assert stage.images.asked == asked
