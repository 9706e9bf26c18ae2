"""What Home looks like."""

from __future__ import annotations

from textual.pilot import Pilot

from tests.tui import homes
from tests.tui.stage import LARGE, SMALL, Stage, text_of, until
from toolkit.core.doctor import Check
from toolkit.core.finding import Finding
from toolkit.tui.app import EdgeApp
from toolkit.tui.screens.home import HomeScreen

FINE = (Check("disk", lambda scene: Finding("disk", "ok", "120.0 GB free")),)
AMISS = (
    Check("disk", lambda scene: Finding("disk", "warning", "1.2 GB free at /home, the next run needs 4.8 GB", "`edge clean`")),
    Check("gpu", lambda scene: Finding("gpu", "problem", "nvidia-smi fails: Driver/library version mismatch", "Restart the machine.")),
)


def app_over(stage: Stage, checks=FINE) -> EdgeApp:
    app = stage.app()
    app.install_screen(HomeScreen(stage.bench, checks), "home")
    return app


def seen(*texts: str):
    """Wait until all of this is on the screen."""

    async def wait(pilot: Pilot) -> None:
        await until(pilot, lambda: all(text in text_of(pilot.app) for text in ("CPU", "Doctor", *texts)))

    return wait


def test_the_empty_home(stage: Stage, snap_compare) -> None:
    assert snap_compare(app_over(stage), terminal_size=SMALL, run_before=seen("No runs yet"))


def test_a_busy_home(stage: Stage, snap_compare) -> None:
    homes.one_of_each(stage)
    assert snap_compare(app_over(stage, AMISS), terminal_size=SMALL, run_before=seen("0008-build-persona", "67 kB", "0001-build"))


def test_a_busy_home_in_a_large_terminal(stage: Stage, snap_compare) -> None:
    homes.one_of_each(stage)
    assert snap_compare(app_over(stage, AMISS), terminal_size=LARGE, run_before=seen("0008-build-persona", "67 kB", "0001-build"))


def test_the_engine_is_down(stage: Stage, snap_compare) -> None:
    homes.one_of_each(stage)
    stage.is_engine_down = True
    assert snap_compare(app_over(stage), terminal_size=SMALL, run_before=seen("does not answer", "67 kB"))


def test_a_filter_and_a_run_with_a_problem(stage: Stage, snap_compare) -> None:
    homes.one_of_each(stage)

    async def before(pilot: Pilot) -> None:
        await seen("0001-build", "67 kB")(pilot)
        await pilot.press("slash", *"!finish", "enter", "down", "down", "down")
        await until(pilot, lambda: "out of memory" in text_of(pilot.app))

    assert snap_compare(app_over(stage), terminal_size=SMALL, run_before=before)
