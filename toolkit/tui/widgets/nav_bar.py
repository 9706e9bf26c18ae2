"""The top line: where one is, and where one can go."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from toolkit.tui.messages import ShowPlace
from toolkit.tui.places import PLACES, Place


class PlaceTab(Static):
    """One place: its key and its name."""

    def __init__(self, place: Place, is_here: bool) -> None:
        marked = f"[{place.title}]" if is_here else f" {place.title} "  # readable without colour
        super().__init__(f"{place.key}{marked}", markup=False, classes="-here" if is_here else "")
        self._place = place

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(ShowPlace(self._place.name))


class NavBar(Horizontal):
    def __init__(self, here: str) -> None:
        super().__init__()
        self._here = here

    def compose(self) -> ComposeResult:
        yield Static("edge", classes="name")
        for place in PLACES:
            yield PlaceTab(place, place.name == self._here)
        yield Static("slow", classes="slow")
