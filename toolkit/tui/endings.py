"""Tells in every place that a run has ended, by looking at the roster that Home looks at too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.message import Message

from toolkit.core.listing import Row
from toolkit.errors import ToolkitError
from toolkit.tui.harmless import harmless_line
from toolkit.tui.ticker import Ticker

SAID = 140
"""Characters of a problem that a notice holds; the run's screen says all of it."""
TOLD = ("finished", "failed", "interrupted")
"""Not stopped: a person did that, and knows."""


@dataclass
class RunEnded(Message):
    row: Row

    @property
    def text(self) -> str:
        problem = harmless_line(self.row.problem)[:SAID]
        return f"{self.row.id} {self.row.status}" + (f": {problem}" if problem else "")


def ended(was_under_way: Mapping[str, bool], rows: Sequence[Row]) -> list[Row]:
    """The runs that were under way, and are over now."""
    return [row for row in rows if row.status in TOLD and was_under_way.get(row.id)]


def watch_endings(app, ticker: Ticker) -> None:
    """Until the ticker stops; what Home has just seen is not looked at again."""
    known: dict[str, bool] = {}
    while ticker.wait(app.pace.list_seconds):
        try:
            rows = app.roster.recent(app.pace.list_seconds)
        except (OSError, ToolkitError):
            continue  # Home says so
        for row in ended(known, rows):
            app.post_message(RunEnded(row))
        known = {row.id: row.is_under_way for row in rows}
