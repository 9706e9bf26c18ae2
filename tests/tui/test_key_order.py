"""Keys that arrive at once, as they do over a slow connection, mean what they mean one by one."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Input

from tests.tui.stage import until
from toolkit.tui.key_order import KeysInOrder


class TwoFields(KeysInOrder):
    def compose(self) -> ComposeResult:
        yield Input(id="user")
        yield Input(id="password", password=True)

    def on_mount(self) -> None:
        self.query_one("#user", Input).focus()


def typed(pilot: Pilot, *keys: str) -> None:
    """All at once, as one packet brings them."""
    for key in keys:
        pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))


def values(pilot: Pilot) -> tuple[str, str]:
    return tuple(field.value for field in pilot.app.query(Input))


async def test_a_correction_takes_back_what_was_typed_before_it() -> None:
    async with TwoFields().run_test() as pilot:
        typed(pilot, "a", "b", "backspace", "c", "home", "x")
        await until(pilot, lambda: values(pilot) == ("xac", ""))


async def test_what_follows_a_tab_lands_in_the_next_field() -> None:
    async with TwoFields().run_test() as pilot:
        typed(pilot, *"edge", "tab", *"secret")
        await until(pilot, lambda: values(pilot) == ("edge", "secret"))


class Question(ModalScreen[None]):
    BINDINGS = [("escape", "dismiss", "Close")]


async def test_a_screen_that_closes_under_its_key_loses_none_of_the_next() -> None:
    async with TwoFields().run_test() as pilot:
        await pilot.app.push_screen(Question())
        typed(pilot, "escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
        typed(pilot, *"edge")
        await until(pilot, lambda: values(pilot) == ("edge", ""))
