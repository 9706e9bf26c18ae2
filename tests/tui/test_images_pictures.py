"""Pictures of the images."""

from __future__ import annotations

import pytest

from tests.tui.shelf import add_build, add_image
from tests.tui.stage import LARGE, SMALL, Stage, text_of, until
from toolkit.tui.widgets.dialogs import Confirm
from toolkit.tui.widgets.package_dialog import PackageDialog


@pytest.fixture
def shelf(stage: Stage) -> Stage:
    add_image(stage, 1, {"persona": "p1", "travel": "t1"}, age=90_000)
    add_image(stage, 4, {"persona": "p2", "travel": "t1"}, age=4000)
    add_image(stage, 4, {"travel": "t1"}, device="cuda12", age=9000)
    return stage


async def opened(pilot) -> None:
    await pilot.press("3")
    await until(pilot, lambda: "Since" in text_of(pilot.app))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_images(snap_compare, shelf: Stage, size) -> None:
    assert snap_compare(shelf.app(), terminal_size=size, run_before=opened)


def test_no_images(snap_compare, stage: Stage) -> None:
    async def empty(pilot) -> None:
        await pilot.press("3")
        await until(pilot, lambda: "No images yet" in text_of(pilot.app))

    assert snap_compare(stage.app(), terminal_size=SMALL, run_before=empty)


def test_images_without_an_engine(snap_compare, shelf: Stage) -> None:
    async def down(pilot) -> None:
        await pilot.press("3")
        await until(pilot, lambda: "does not answer" in text_of(pilot.app))

    shelf.is_engine_down = True
    assert snap_compare(shelf.app(), terminal_size=SMALL, run_before=down)


def test_removing_an_image(snap_compare, shelf: Stage) -> None:
    async def removing(pilot) -> None:
        await opened(pilot)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))

    assert snap_compare(shelf.app(), terminal_size=SMALL, run_before=removing)


def test_packaging_a_build(snap_compare, stage: Stage) -> None:
    async def choosing(pilot) -> None:
        await pilot.press("3", "p")
        await until(pilot, lambda: isinstance(pilot.app.screen, PackageDialog) and "2048 MB" in text_of(pilot.app))

    add_build(stage, age=90_000)
    add_build(stage, device="cuda12", recipe="cooking")
    assert snap_compare(stage.app(), terminal_size=SMALL, run_before=choosing)
