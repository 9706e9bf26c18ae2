"""Lines of text of any number: only those on the screen are ever read. Follows the end, scrolls, marks lines to copy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from toolkit.core.logsearch import Pattern

SIDEWAYS = 8
"""Columns that one press of left or right moves."""
_LEVELS = re.compile(r"(?P<error>(?:error|failed|failure|fatal|critical|exception|traceback|killed)\b)|(?P<warning>warn(?:ing)?\b)", re.I)
_HINTS = ("err", "fail", "fatal", "critical", "exception", "traceback", "killed", "warn")


class Lines(Protocol):
    """What is shown: how many lines there are, and each by its number."""

    def __len__(self) -> int: ...

    def line(self, number: int) -> str: ...

    def whole(self, number: int) -> str: ...


class LineView(ScrollView, can_focus=True):
    COMPONENT_CLASSES = {"lines--error", "lines--warning", "lines--found", "lines--here", "lines--marked"}
    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
        Binding("home,g", "jump(0)", "First line", show=False),
        Binding("end,G", "jump(-1)", "Last line", show=False),
        Binding("left", "sideways(-1)", "Left", show=False),
        Binding("right", "sideways(1)", "Right", show=False),
        Binding("f", "follow", "Follow the end", show=False),
        Binding("v", "mark", "Mark lines to copy", show=False),
        Binding("escape", "unmark", "Leave marking", show=False),
    ]

    @dataclass
    class Moved(Message):
        """What is seen has changed: scrolled, followed, marked."""

    def __init__(self, lines: Lines, **kwargs) -> None:
        super().__init__(**kwargs)
        self.lines = lines
        self.numbers: Sequence[int] | None = None
        """The lines to show, where it is not all of them."""
        self.pattern: Pattern | None = None
        self.is_following = True
        self.here: int | None = None
        """Row of the match one is at, or of the end of what is marked."""
        self.anchor: int | None = None
        """Row where marking began."""
        self._left = 0
        self._rows = 0

    def on_mount(self) -> None:
        self.renew()

    def number_at(self, row: int) -> int:
        """The line that a row shows; -1: none any more."""
        if self.numbers is None:
            return row
        try:
            return self.numbers[row]
        except IndexError:  # a filter that is being made anew
            return -1

    def renew(self) -> None:
        """Take notice of what was added; at the end if that is followed, else where one is."""
        rows = len(self.numbers) if self.numbers is not None else len(self.lines)
        has_room = rows != self._rows and min(rows, self._rows) < self.scroll_offset.y + self.size.height
        is_at_end = self.is_following and (self.numbers is None or rows != self._rows)
        self._rows = rows
        self._say_size(Size(self.size.width, rows))
        if self.is_following:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)  # the scrollbar may still have to come
        if has_room or is_at_end:
            self.refresh()

    def _say_size(self, size: Size) -> None:
        """Without laying out the whole screen anew, as setting `virtual_size` would; a scrollbar that comes or goes does that."""
        if size != self.virtual_size:
            self.set_reactive(ScrollView.virtual_size, size)
            self._scroll_update(size)

    def show_all_anew(self) -> None:
        """Something else is shown from now on."""
        self.here = self.anchor = None
        self.renew()
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self.renew()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        width = self.size.width
        if row >= self._rows:
            return Strip.blank(width, self.rich_style)
        text = self.lines.line(self.number_at(row))
        strip = Strip(self._pieces(text, self._style_of(row))).crop(self._left, self._left + width)
        return strip.extend_cell_length(width, self._style_of(row)).simplify()

    def _style_of(self, row: int) -> Style:
        if self.anchor is not None and row in self.marked:
            return self.get_component_rich_style("lines--marked")
        if row == self.here:
            return self.get_component_rich_style("lines--here")
        return self.rich_style

    def _pieces(self, text: str, style: Style) -> list[Segment]:
        places = [(*place, "lines--found") for place in self.pattern.places(text)] if self.pattern else _levels(text)
        pieces, at = [], 0
        for begin, end, name in places:
            pieces += [Segment(text[at:begin], style), Segment(text[begin:end], style + self.get_component_rich_style(name, partial=True))]
            at = end
        return [*pieces, Segment(text[at:], style)]

    @property
    def marked(self) -> range:
        """Rows that are marked; without marking, those on the screen."""
        if self.anchor is None:
            top = self.scroll_offset.y
            return range(top, min(top + self.size.height, self._rows))
        here = self.anchor if self.here is None else self.here
        return range(min(self.anchor, here), min(max(self.anchor, here) + 1, self._rows))

    def go_to(self, row: int) -> None:
        """Show a row with some of what is around it, and leave following."""
        self.is_following = False
        self.here = row
        self._show_place(row)
        if not self.scroll_offset.y <= row < self.scroll_offset.y + self.size.height:
            self.scroll_to(y=max(row - self.size.height // 2, 0), animate=False, force=True)
        self._moved()

    def _show_place(self, row: int) -> None:
        """Move sideways where what was looked for is not to be seen."""
        places = self.pattern.places(self.lines.line(self.number_at(row))) if self.pattern else []
        if places and not self._left <= places[0][0] <= self._left + self.size.width - SIDEWAYS:
            self._left = max(places[0][1] - self.size.width + SIDEWAYS, 0)

    def _moved(self) -> None:
        self.refresh()
        self.post_message(self.Moved())

    def scroll_by(self, rows: int) -> None:
        """Up leaves following; reaching the end takes it up again."""
        if self.anchor is not None:
            return self._mark_to((self.here or 0) + rows)
        target = min(max(self.scroll_offset.y + rows, 0), self.max_scroll_y)
        self.is_following = target >= self.max_scroll_y
        self.scroll_to(y=target, animate=False, force=True)
        return self._moved()

    def _mark_to(self, row: int) -> None:
        self.here = min(max(row, 0), self._rows - 1)
        top, height = self.scroll_offset.y, self.size.height
        if self.here < top or self.here >= top + height:
            self.scroll_to(y=self.here if self.here < top else self.here - height + 1, animate=False, force=True)
        self._moved()

    def action_move(self, rows: int) -> None:
        self.scroll_by(rows)

    def action_page(self, pages: int) -> None:
        self.scroll_by(pages * max(self.size.height - 1, 1))

    def action_jump(self, row: int) -> None:
        self.scroll_by(self._rows if row else -self._rows)

    def action_sideways(self, steps: int) -> None:
        self._left = max(self._left + steps * SIDEWAYS, 0)
        self._moved()

    def action_follow(self) -> None:
        self.is_following = not self.is_following
        self.anchor = self.here = None
        self.renew()
        self._moved()

    def action_mark(self) -> None:
        """Begin to mark lines at the match one is at, else at the last line on the screen; again: leave marking."""
        if self.anchor is not None or not self._rows:
            return self.action_unmark()
        self.is_following = False
        self.here = self.anchor = self.here if self.here is not None else self.marked[-1]
        return self._moved()

    def action_unmark(self) -> None:
        self.anchor = None
        self._moved()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.anchor is not None if action == "unmark" else True  # else Escape is the screen's

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_by(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_by(3)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        row = self.scroll_offset.y + event.y
        self.anchor = None
        self.here = row if row < self._rows else None
        self.is_following = self.is_following and self.here is None
        self._moved()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button == 1 and self.here is not None:
            self.anchor = self.here if self.anchor is None else self.anchor
            self._mark_to(self.scroll_offset.y + event.y)


def _levels(text: str) -> list[tuple[int, int, str]]:
    """Where a line says that something is wrong: (from, to, name of the style)."""
    small = text.lower()
    if not any(hint in small for hint in _HINTS):
        return []
    return [(*found.span(), f"lines--{found.lastgroup}") for found in _LEVELS.finditer(text)]
