"""A line of text that remembers what was written there before, as a shell does."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.widgets import Input


class HistoryInput(Input):
    """Up and down go through earlier values; what was being written is kept beneath them."""

    BINDINGS = [
        Binding("up", "go(1)", "Earlier value", show=False),
        Binding("down", "go(-1)", "Later value", show=False),
    ]

    def __init__(self, placeholder: str = "", id: str | None = None) -> None:
        super().__init__(placeholder=placeholder, id=id)
        self.earlier: tuple[str, ...] = ()
        self._place, self._written = -1, ""

    def remember(self, earlier: Sequence[str]) -> None:
        """Earlier values, the newest first."""
        self.earlier = tuple(earlier)
        self._place = -1

    def action_go(self, by: int) -> None:
        place = max(-1, min(self._place + by, len(self.earlier) - 1))
        if place == self._place:
            return
        if self._place == -1:
            self._written = self.value
        self._place = place
        self.value = self._written if place == -1 else self.earlier[place]
        self.cursor_position = len(self.value)
