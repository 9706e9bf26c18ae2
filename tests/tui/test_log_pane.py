"""The log pane: following, searching, filtering, copying and saving logs of any size, by keys and by the mouse."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.events import MouseScrollUp
from textual.pilot import Pilot

from tests.tui import stories
from tests.tui.stage import NOW, SMALL, Stage, text_of, until
from toolkit.core.run import Run
from toolkit.tui.messages import ShowRun
from toolkit.tui.screens.run import RunScreen
from toolkit.tui.widgets.log_pane import LogPane


@pytest.fixture
def run(stage: Stage) -> Run:
    run = stage.add_run(age=200)
    stories.build(run, NOW - 190)
    return run


@asynccontextmanager
async def logged(stage: Stage, run: Run, *lines: str):
    """The log of the run on the screen, with the keys in it."""
    (run.folder / "log.txt").write_text("".join(line + "\n" for line in lines))
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.pause()
        pilot.app.post_message(ShowRun(run.id))
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.picture.state.has_ending)
        await pilot.press("l")
        await until(pilot, lambda: f"{len(lines):,} lines" in text_of(pilot.app))
        yield pilot


def pane_of(pilot: Pilot) -> LogPane:
    return pilot.app.screen.query_one(LogPane)


def sees(pilot: Pilot, *texts: str):
    return lambda: all(text in text_of(pilot.app) for text in texts)


def more(run: Run, text: str) -> None:
    with open(run.folder / "log.txt", "a") as log:
        log.write(text)


def numbered(count: int) -> list[str]:
    return [f"line {number} of the log" for number in range(count)]


async def test_the_end_is_followed_until_one_scrolls_up_and_f_takes_it_up_again(stage, run):
    async with logged(stage, run, *numbered(100)) as pilot:
        await until(pilot, sees(pilot, "line 99 of", " following"))
        more(run, "the newest line\n")
        await until(pilot, sees(pilot, "the newest line"))
        await pilot.press("up")
        await until(pilot, sees(pilot, "not following"))
        top = pane_of(pilot).view.scroll_offset.y
        more(run, "one more line\n")
        await until(pilot, sees(pilot, "102 lines"))
        assert pane_of(pilot).view.scroll_offset.y == top and "one more line" not in text_of(pilot.app)
        await pilot.press("f")
        await until(pilot, sees(pilot, "one more line"))


async def test_a_line_that_grows_at_the_end_is_seen_to_grow(stage, run):
    async with logged(stage, run, "first") as pilot:
        more(run, " 10%|#   |\r")
        await until(pilot, sees(pilot, "10%|#   |"))
        more(run, " 60%|##  |\r")
        await until(pilot, sees(pilot, "60%|##  |"))
        assert "10%" not in text_of(pilot.app)


async def test_beginning_and_end_are_one_key_away(stage, run):
    async with logged(stage, run, *numbered(100_000)) as pilot:
        await pilot.press("g")
        await until(pilot, sees(pilot, "line 0 of"))
        await pilot.press("pagedown", "pagedown", "pageup")
        await until(pilot, sees(pilot, "line 20 of", "not following"))
        await pilot.press("G")
        await until(pilot, sees(pilot, "line 99999 of", " following"))
        await pilot.press("home")
        await until(pilot, sees(pilot, "line 0 of"))
        await pilot.press("end")
        await until(pilot, sees(pilot, "line 99999 of"))


async def test_the_wheel_scrolls_and_leaves_following(stage, run):
    async with logged(stage, run, *numbered(100)) as pilot:
        await until(pilot, sees(pilot, "line 99 of"))
        view = pane_of(pilot).view
        for _ in range(3):
            await pilot._post_mouse_events([MouseScrollUp], view, (5, 5))
        await until(pilot, lambda: "line 99 of" not in text_of(pilot.app) and not view.is_following)


async def test_search_goes_to_the_next_and_the_one_before_and_round(stage, run):
    lines = numbered(5000)
    for number in (700, 2500, 4400):
        lines[number] = f"needle in {number}"
    async with logged(stage, run, *lines) as pilot:
        await pilot.press("g", "slash", *"NEEDLE".lower(), "enter")
        await until(pilot, sees(pilot, "needle in 700", "line 701"))
        await pilot.press("n")
        await until(pilot, sees(pilot, "needle in 2500"))
        await pilot.press("N")
        await until(pilot, sees(pilot, "line 701"))
        await pilot.press("N")
        await until(pilot, sees(pilot, "needle in 4400"))
        await pilot.press("n")
        await until(pilot, sees(pilot, "needle in 700"))


async def test_what_is_nowhere_is_said(stage, run):
    async with logged(stage, run, *numbered(50)) as pilot:
        await pilot.press("slash", *"zebra", "enter")
        await until(pilot, sees(pilot, "no line has 'zebra'"))


async def test_a_match_far_to_the_right_is_moved_into_sight(stage, run):
    async with logged(stage, run, *numbered(50), "x" * 300 + " needle") as pilot:
        await pilot.press("slash", *"needle", "enter")
        await until(pilot, sees(pilot, "xx needle"))


async def test_escape_leaves_the_search_first_and_the_screen_only_then(stage, run):
    async with logged(stage, run, *numbered(50)) as pilot:
        await pilot.press("slash", "a", "escape")
        await until(pilot, lambda: not pane_of(pilot).prompt.display)
        assert isinstance(pilot.app.screen, RunScreen)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunScreen))


async def test_a_filter_shows_only_what_fits_as_the_log_grows_and_search_stays_within_it(stage, run):
    async with logged(stage, run, *numbered(1000)) as pilot:
        await pilot.press("ampersand", *"7 of", "enter")
        await until(pilot, sees(pilot, "100 of 1,000 lines with & 7 of", "line 997 of"))
        assert "line 996 of" not in text_of(pilot.app)
        more(run, "line 1007 of the log\nline 1008 of the log\n")
        await until(pilot, sees(pilot, "101 of 1,002", "line 1007 of"))
        await pilot.press("slash", *"line 33", "enter")
        await until(pilot, sees(pilot, "line 338"))
        assert "line 336 of" not in text_of(pilot.app)
        await pilot.press("ampersand", *["backspace"] * 4, "enter")
        await until(pilot, sees(pilot, "1,002 lines"))


async def test_an_inverse_filter_hides_what_fits(stage, run):
    async with logged(stage, run, "keep this", "noise", "noise", "keep that") as pilot:
        await pilot.press("ampersand", *"!noise", "enter")
        await until(pilot, sees(pilot, "2 of 4 lines", "keep this", "keep that"))
        assert "noise\n" not in text_of(pilot.app)


async def test_copying_takes_the_lines_on_the_screen_or_those_that_are_marked_whole(stage, run):
    async with logged(stage, run, *numbered(100), "y" * 500) as pilot:
        await until(pilot, sees(pilot, " following"))
        await pilot.press("y")
        await until(pilot, sees(pilot, "copied"))
        assert pilot.app.clipboard.splitlines()[-2:] == ["line 99 of the log", "y" * 500]
        await pilot.press("v", "up", "up")
        await until(pilot, sees(pilot, "3 marked"))
        await pilot.press("y")
        await until(pilot, sees(pilot, "copied 3 lines"))
        assert pilot.app.clipboard.splitlines() == ["line 98 of the log", "line 99 of the log", "y" * 500]


async def test_marking_is_left_by_escape(stage, run):
    async with logged(stage, run, *numbered(100)) as pilot:
        await pilot.press("v", "up", "escape")
        await until(pilot, lambda: pane_of(pilot).view.anchor is None)
        assert isinstance(pilot.app.screen, RunScreen)


async def test_the_log_is_saved_to_a_file_and_never_over_another(stage, run, tmp_path: Path):
    async with logged(stage, run, "one", "two") as pilot:
        for said in ("saved 8 B", "File exists"):
            await pilot.press("w")
            await until(pilot, sees(pilot, "Save the whole log to"))
            pilot.app.screen.query_one("Input").value = str(tmp_path / "saved.txt")
            await pilot.press("enter")
            await until(pilot, sees(pilot, said))
        assert (tmp_path / "saved.txt").read_text() == "one\ntwo\n"


async def test_only_what_the_filter_lets_through_is_saved(stage, run, tmp_path: Path):
    async with logged(stage, run, "one", "two", "three") as pilot:
        await pilot.press("ampersand", "t", "enter")
        await until(pilot, sees(pilot, "2 of 3 lines"))
        await pilot.press("w")
        await until(pilot, sees(pilot, "Save the lines that fit"))
        pilot.app.screen.query_one("Input").value = str(tmp_path / "saved.txt")
        await pilot.press("enter")
        await until(pilot, sees(pilot, "saved"))
        assert (tmp_path / "saved.txt").read_text() == "two\nthree\n"


async def test_a_log_cut_short_or_deleted_under_it_does_no_harm(stage, run):
    async with logged(stage, run, *numbered(100)) as pilot:
        (run.folder / "log.txt").write_text("begun anew\n")
        await until(pilot, sees(pilot, "begun anew", "1 lines"))
        (run.folder / "log.txt").unlink()
        await pilot.press("g", "G", "slash", "a", "enter")
        await until(pilot, sees(pilot, "begun anew"))


async def test_escape_leaves_the_filter_before_it_leaves_the_run(stage, run):
    async with logged(stage, run, *numbered(30)) as pilot:
        await pilot.press("ampersand", *"9 of", "enter")
        await until(pilot, sees(pilot, "3 of 30 lines", "Esc all lines"))
        await pilot.press("escape")
        await until(pilot, sees(pilot, "30 lines", "line 28 of the log"))
        assert isinstance(pilot.app.screen, RunScreen)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunScreen))
