"""The list of runs: one line a run, the newest first. It draws only lines that changed, and keeps its place when runs come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from toolkit.core.files import as_round_duration, as_round_size
from toolkit.core.listing import Row
from toolkit.tui.harmless import harmless_line
from toolkit.tui.widgets.gauge import bar

CURSOR = "►"


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    """The least it needs."""
    text: Callable[[Row, int], str]
    extra: int = 0
    """How much wider it may get."""
    is_right: bool = False
    from_width: int = 0
    """Left out in lists narrower than this."""

    def cell(self, row: Row, width: int) -> str:
        text = fitted(self.text(row, width), width)
        return text.rjust(width) if self.is_right else text.ljust(width)


def _progress_bar(row: Row, width: int) -> str:
    return bar(row.share, width) if row.share is not None and row.status not in ("finished", "requested") else ""


def left_of(row: Row) -> str:
    """How long it still takes: `4 min`, or `4 min+` where only the step under way can be told."""
    if row.eta_seconds is None:
        return ""
    if row.is_eta_whole:
        return as_round_duration(row.eta_seconds)
    return (
        ""
        if row.eta_seconds < 10
        else f"{row.eta_seconds // 10 * 10:.0f} s+"
        if row.eta_seconds < 60
        else f"{as_round_duration(row.eta_seconds)}+"
    )


COLUMNS = (
    Column("RUN", 20, lambda row, width: row.id, 14),
    Column("KIND", 8, lambda row, width: row.kind, from_width=100),
    Column("STATE", 11, lambda row, width: row.status),
    Column("STEPS", 15, lambda row, width: row.progress, 14),
    Column("", 7, _progress_bar, 13),
    Column("LEFT", 7, lambda row, width: left_of(row), is_right=True),
    Column("AGE", 6, lambda row, width: as_round_duration(row.age_seconds), is_right=True),
    Column("SIZE", 6, lambda row, width: "" if row.bytes is None else as_round_size(row.bytes), is_right=True),
)
STATE_COLUMNS = ("STATE", "")
"""Drawn in the colour of the run's state."""
STATES = ("requested", "running", "finished", "failed", "stopped", "interrupted", "unreadable")


def fitted(text: str, width: int) -> str:
    """The text without controls, cut where it is too long; the cut shows."""
    text = harmless_line(text)
    return text if len(text) <= width else f"{text[: max(width - 2, 0)]}.."[:width]


def layout(width: int) -> list[tuple[Column, int]]:
    """The columns that fit into `width` characters, and how wide each is; the first character is the cursor's."""
    columns = [column for column in COLUMNS if width >= column.from_width]
    room = width - 1 - sum(column.width + 1 for column in columns) + 1
    chosen = []
    for column in columns:
        more = max(0, min(column.extra, room))
        room -= more
        chosen.append((column, column.width + more))
    return chosen


class RunTable(ScrollView, can_focus=True):
    COMPONENT_CLASSES = {"run-table--cursor", "run-table--head", "run-table--dim", *(f"run-table--{state}" for state in STATES)}
    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "go(0)", "First", show=False),
        Binding("end,G", "go(-1)", "Last", show=False),
        Binding("enter", "open", "Open", key_display="Enter", show=False),
    ]

    cursor: var[int] = var(0)

    @dataclass
    class Chosen(Message):
        """The cursor is on another run, or its run has changed."""

        row: Row | None

    @dataclass
    class Opened(Message):
        row: Row

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._cells: list[list[str]] = []
        self._columns: list[tuple[Column, int]] = []
        """As wide as the list was when the cells were made."""

    @property
    def chosen(self) -> Row | None:
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def show(self, rows: Sequence[Row]) -> None:
        """Show these runs, in this order; the cursor stays on its run, and that on its line."""
        before, was_chosen = self.rows, self.chosen
        self.rows = list(rows)
        if [row.id for row in before] == [row.id for row in rows]:
            self._redraw_changed(before)
        else:
            self._show_others(was_chosen)
        if self.chosen is not was_chosen:
            self.post_message(self.Chosen(self.chosen))

    def _redraw_changed(self, before: list[Row]) -> None:
        for y, (old, new) in enumerate(zip(before, self.rows, strict=True)):
            if old is not new and (cells := _cells_of(new, self._columns)) != self._cells[y]:
                self._cells[y] = cells
                self._redraw(y)

    def _redraw(self, place: int) -> None:
        """Draw one run anew, if it is in view."""
        if 0 <= place - self.scroll_offset.y < self._lines:
            self.refresh_line(place + 1)

    def _show_others(self, was_chosen: Row | None) -> None:
        line = self.cursor - self.scroll_offset.y
        self._make_cells()
        places = {row.id: y for y, row in enumerate(self.rows)}
        place = places.get(was_chosen.id if was_chosen else "", min(self.cursor, max(len(self.rows) - 1, 0)))
        self.set_reactive(RunTable.cursor, place)
        self.scroll_to(y=place - line, animate=False, force=True, immediate=True)
        self._show_cursor()
        self.refresh()

    def _make_cells(self) -> None:
        self._columns = layout(self.scrollable_content_region.width)
        self._cells = [_cells_of(row, self._columns) for row in self.rows]
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.rows) + 1)

    def on_resize(self) -> None:
        self._make_cells()
        self._show_cursor()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The headings stay on the first line."""
        width = self.scrollable_content_region.width
        if y == 0:
            titles = [column.title.rjust(w) if column.is_right else column.title.ljust(w) for column, w in self._columns]
            return Strip([Segment(" " + " ".join(titles), self.get_component_rich_style("run-table--head"))]).adjust_cell_length(
                width, self.get_component_rich_style("run-table--head")
            )
        place = self.scroll_offset.y + y - 1
        if place >= len(self.rows):
            return Strip.blank(width, self.rich_style)
        return self._line(place).adjust_cell_length(width, self._base(place))

    def _base(self, place: int) -> Style:
        return self.get_component_rich_style("run-table--cursor") if place == self.cursor else self.rich_style

    def _line(self, place: int) -> Strip:
        base, row = self._base(place), self.rows[place]
        segments = [Segment(CURSOR if place == self.cursor else " ", base)]
        for (column, _), cell in zip(self._columns, self._cells[place], strict=True):
            text = cell.lstrip()
            segments += [
                Segment(" " * (len(cell) - len(text)), base),
                Segment(text, self._style(column, row, base, place)),
                Segment(" ", base),
            ]
        return Strip(segments)

    def _style(self, column: Column, row: Row, base: Style, place: int) -> Style:
        if place == self.cursor:
            return base
        if column.title in STATE_COLUMNS:
            return self.get_component_rich_style(f"run-table--{row.status}")
        return base if column.title in ("RUN", "STEPS") else self.get_component_rich_style("run-table--dim")

    def watch_cursor(self, before: int, now: int) -> None:
        self._redraw(before)
        self._redraw(now)
        self._show_cursor()
        self.post_message(self.Chosen(self.chosen))

    def _show_cursor(self) -> None:
        lines = self._lines
        if self.cursor < self.scroll_offset.y:
            self.scroll_to(y=self.cursor, animate=False, force=True, immediate=True)
        elif self.cursor >= self.scroll_offset.y + lines:
            self.scroll_to(y=self.cursor - lines + 1, animate=False, force=True, immediate=True)

    @property
    def _lines(self) -> int:
        return max(self.scrollable_content_region.height - 1, 1)

    def choose(self, run_id: str) -> None:
        """Put the cursor on a run, if it is listed."""
        place = next((y for y, row in enumerate(self.rows) if row.id == run_id), self.cursor)
        self.cursor = place

    def action_move(self, by: int) -> None:
        self.cursor = min(max(self.cursor + by, 0), max(len(self.rows) - 1, 0))

    def action_page(self, by: int) -> None:
        self.action_move(by * self._lines)

    def action_go(self, place: int) -> None:
        self.cursor = place % max(len(self.rows), 1)

    def action_open(self) -> None:
        if self.chosen:
            self.post_message(self.Opened(self.chosen))

    def on_click(self, event: events.Click) -> None:
        """A click chooses, a second one on the same run opens it."""
        place = self.scroll_offset.y + event.y - 1
        if event.y < 1 or place >= len(self.rows):
            return
        if event.chain > 1:
            self.action_open()
        self.cursor = place


def _cells_of(row: Row, columns: Sequence[tuple[Column, int]]) -> list[str]:
    return [column.cell(row, width) for column, width in columns]
