"""The panes of a screen as one line of names, where there is room for one pane only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static


class PaneTab(Static):
    def __init__(self, pane: str, title: str) -> None:
        super().__init__(f" {title} ", markup=False)
        self.pane, self.title = pane, title

    def set_here(self, is_here: bool) -> None:
        self.set_class(is_here, "-here")
        self.update(f"[{self.title}]" if is_here else f" {self.title} ")  # readable without colour

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(PaneTabs.Chosen(self.pane))


class PaneTabs(Horizontal):
    @dataclass
    class Chosen(Message):
        pane: str

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self._titles = titles

    def compose(self) -> ComposeResult:
        for pane, title in self._titles.items():
            yield PaneTab(pane, title)
        yield Static("Tab: next", markup=False, classes="muted")

    def show(self, here: str) -> None:
        for tab in self.query(PaneTab):
            tab.set_here(tab.pane == here)
