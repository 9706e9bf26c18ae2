"""Textual's own widgets in our clothes: every one can be drawn by a Linux console, and shows its state without colour."""

from __future__ import annotations

import pytest
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Button, DataTable, Input, OptionList, RadioSet, Select, Static, TabbedContent, TabPane, TextArea

from tests.tui.looks import named, poorly_readable, strange_signs
from tests.tui.stage import SMALL, Stage, text_of, until
from toolkit.tui.widgets.toggles import Choice, Tick


class Gallery(Screen):
    """One of each."""

    def compose(self) -> ComposeResult:
        yield Input("a field", id="field")
        yield Input(placeholder="what to type")
        yield TextArea("\n".join(f"line {number}" for number in range(20)), id="text")
        yield Select([("the first", 1), ("the second", 2)], value=1, id="select")
        with Horizontal():
            yield Button("Start", id="button")
            yield Button("Stop", variant="error")
            yield Button("Never", disabled=True)
        yield Tick("taken", value=True, id="tick")
        yield Tick("left")
        with RadioSet(id="radio"):
            yield Choice("this", value=True)
            yield Choice("that")
        table = DataTable(id="table")
        table.add_columns("name", "size")
        table.add_rows((str(number), "x" * number) for number in range(40))
        yield table
        yield OptionList(*(f"option {number}" for number in range(9)), id="options")
        with TabbedContent(id="tabs"):
            with TabPane("One"):
                yield Static("in one")
            with TabPane("Two"):
                yield Static("in two")

    def on_mount(self) -> None:
        for identity, lines in (("text", 3), ("table", 3), ("options", 3), ("radio", 2), ("tabs", 2)):
            self.query_one(f"#{identity}", Widget).styles.height = lines
        self.query_one(Horizontal).styles.height = 1


@pytest.mark.parametrize("shade", ["dark", "light"])
@pytest.mark.parametrize("focused", ["field", "text", "select", "button", "tick", "radio", "table", "options"])
async def test_widgets_are_readable_and_drawn_with_what_a_console_has(stage: Stage, focused: str, shade: str) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        pilot.app.theme = f"edge-{shade}"
        await pilot.app.push_screen(Gallery())
        pilot.app.screen.query_one(f"#{focused}", Widget).focus()
        await until(pilot, lambda: "a field" in text_of(pilot.app))
        assert not strange_signs(pilot.app), named(strange_signs(pilot.app))
        poor = [text for text in poorly_readable(pilot.app) if text.text != "Never"]  # what cannot be pressed may fade
        assert not poor, "\n".join(map(str, poor))


async def test_what_is_ticked_and_chosen_is_told_by_a_sign(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.app.push_screen(Gallery())
        for sign in ("[x] taken", "[ ] left", "(•) this", "( ) that"):
            await until(pilot, lambda sign=sign: sign in text_of(pilot.app))
        pilot.app.screen.query_one("#tick", Tick).toggle()
        await until(pilot, lambda: "[ ] taken" in text_of(pilot.app))


@pytest.mark.parametrize("identity", ["field", "text", "select", "button"])
async def test_where_the_focus_is_shows_without_colour(stage: Stage, identity: str) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.app.push_screen(Gallery())
        widget = pilot.app.screen.query_one(f"#{identity}", Widget)
        await until(pilot, lambda: widget.region.height > 0)
        edge = widget.region.x, widget.region.y
        pilot.app.screen.set_focus(None)
        await until(pilot, lambda: sign_at(pilot.app, *edge) == "│")
        widget.focus()
        await until(pilot, lambda: sign_at(pilot.app, *edge) == "▌")


def sign_at(app, column: int, line: int) -> str:
    return text_of(app).splitlines()[line][column]


async def test_a_scrollbar_is_drawn_in_whole_and_half_blocks(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.app.push_screen(Gallery())
        table = pilot.app.screen.query_one(DataTable)
        for row in range(0, 40, 3):
            table.move_cursor(row=row, animate=False)
            await pilot.pause()
            assert not strange_signs(pilot.app), named(strange_signs(pilot.app))
