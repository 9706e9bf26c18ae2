"""What was said: questions, answers as Markdown, and below each answer what it took. Only the lines in view are drawn."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.style import Style
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from toolkit.tui.harmless import harmless, harmless_line
from toolkit.tui.widgets.chat_markdown import AnswerText, Look, plain_lines, without_background

LAYOUT_SECONDS = 0.02
"""Spent at a time on laying out earlier messages anew, after the width or the theme changed."""


@dataclass
class Entry:
    """One thing said."""

    kind: str
    """question, answer, figures or note."""
    text: AnswerText | str
    lines: list[Strip] = field(default_factory=list)
    look: Look | None = None

    def lay_out(self, look: Look, style: Style) -> None:
        self.look = look
        self.lines = self.text.lines(look) if isinstance(self.text, AnswerText) else _plain(self.kind, self.text, look, style)
        if self.kind in ("figures", "note"):
            self.lines.append(Strip.blank(0))


def _plain(kind: str, text: str, look: Look, style: Style) -> list[Strip]:
    if kind == "question":
        marked = "\n".join(f"> {line}" for line in text.split("\n"))
        return [*plain_lines(marked, look, style=style), Strip.blank(0)]
    return plain_lines(text, look, style=style)


class ChatLog(ScrollView, can_focus=True):
    """Follows the end unless the person scrolled away from it."""

    COMPONENT_CLASSES = {"chat--question", "chat--heading", "chat--code", "chat--muted", "chat--figures", "chat--note"}
    BINDINGS = [
        Binding("home,g", "scroll_home", "Top", show=False),
        Binding("end,G", "scroll_end", "End", show=False),
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
    ]
    LONGEST_QUESTION = 4000
    """Characters of a question that are shown; all of them are asked."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries: list[Entry] = []
        self._shown: list[Strip] = []
        self._first_kept = 0
        """Entries before it are still to be laid out for this width."""
        self._last_at = 0
        """Line at which the last entry begins."""
        self._layout = None
        self._follows = True
        """False once the person has scrolled away from the end."""
        self.paint_seconds = 0.0
        """What the last look at a growing answer cost."""

    # -- told by the screen -----------------------------------------------------------------------------------------

    def add_question(self, text: str) -> None:
        shown = harmless(text)
        if len(shown) > self.LONGEST_QUESTION:
            shown = f"{shown[: self.LONGEST_QUESTION]}\n... {len(text):,} characters in all"
        self._add(Entry("question", shown))

    def begin_answer(self) -> None:
        self._add(Entry("answer", AnswerText()))

    def grow(self, text: str) -> None:
        """More of the answer under way."""
        if not self._entries or self._entries[-1].kind != "answer":
            self.begin_answer()
        self._entries[-1].text.grow(text)
        self._redraw_last()

    def add_figures(self, text: str) -> None:
        self._add(Entry("figures", harmless_line(text)))

    def add_note(self, text: str) -> None:
        self._add(Entry("note", harmless_line(text)))

    def take_back(self) -> None:
        """Remove the last question and all that followed it."""
        places = [place for place, entry in enumerate(self._entries) if entry.kind == "question"]
        if places:
            del self._entries[places[-1] :]
            self._lay_out_anew()

    def clear(self) -> None:
        self._entries.clear()
        self._lay_out_anew()

    @property
    def text(self) -> str:
        """What is shown, without colours."""
        return "\n".join(strip.text for strip in self._shown)

    # -- layout -----------------------------------------------------------------------------------------------------

    def _look(self) -> Look:
        heading, code, muted = (self._style(name) for name in ("heading", "code", "muted"))
        return Look(max(10, self.scrollable_content_region.width), heading, code, muted, self.app.current_theme.dark)

    def _style(self, kind: str) -> Style:
        return Style() if kind == "answer" else without_background(self.get_component_rich_style(f"chat--{kind}"))

    def _add(self, entry: Entry) -> None:
        if self._entries and self._entries[-1].kind == "answer":
            self._shown.append(Strip.blank(0))
            self._entries[-1].lines.append(Strip.blank(0))
        self._follows = self._follows or entry.kind == "question"
        self._entries.append(entry)
        self._last_at = len(self._shown)
        if not self._is_laid_out:
            return
        entry.lay_out(self._look(), self._style(entry.kind))
        self._shown += entry.lines
        self._resized()
        self.refresh()

    @property
    def _is_laid_out(self) -> bool:
        return self.is_attached and self.size.width > 0

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._follows = new_value >= self.max_scroll_y - 1

    def _redraw_last(self) -> None:
        """Lay the growing answer out again, and draw the lines that changed."""
        if not self._is_laid_out:
            return
        began = time.perf_counter()
        entry = self._entries[-1]
        before = entry.lines
        entry.lay_out(self._look(), self._style(entry.kind))
        self._shown[self._last_at :] = entry.lines
        same = _same_at_start(before, entry.lines)
        grew = len(entry.lines) != len(before)
        self._resized()
        top = self._last_at + same - self.scroll_offset.y
        if grew and self._follows and self.max_scroll_y:
            self.refresh()
        else:
            self.refresh(Region(0, max(0, top), self.size.width, max(1, self.size.height - max(0, top))))
        self.paint_seconds = time.perf_counter() - began

    def _resized(self) -> None:
        follows = self._follows  # asked before the size is set, which moves the view
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._shown))
        if follows:
            self._follows = True
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def _lay_out_anew(self) -> None:
        """Everything for the width and theme of now: the newest at once, earlier ones little by little."""
        if not self._is_laid_out:
            return
        self._shown, self._first_kept = [], len(self._entries)
        self._lay_out_some()
        if self._first_kept and self._layout is None:
            self._layout = self.set_interval(LAYOUT_SECONDS, self._lay_out_more)
        self.refresh()

    def _lay_out_more(self) -> None:
        if not self._first_kept:
            self._layout.stop()
            self._layout = None
            return
        self._lay_out_some()

    def _lay_out_some(self) -> None:
        until, look, above = time.perf_counter() + LAYOUT_SECONDS, self._look(), []
        while self._first_kept and (not above or time.perf_counter() < until):
            self._first_kept -= 1
            entry = self._entries[self._first_kept]
            if entry.look != look:
                entry.lay_out(look, self._style(entry.kind))
                if entry.kind == "answer" and entry is not self._entries[-1]:
                    entry.lines.append(Strip.blank(0))
            above[:0] = entry.lines
        place = self.scroll_offset.y + len(above)
        self._shown[:0] = above
        self._last_at = len(self._shown) - (len(self._entries[-1].lines) if self._entries else 0)
        follows = self._follows
        self._resized()
        if not follows:
            self.scroll_to(y=place, animate=False, immediate=True)

    def on_resize(self) -> None:
        self._lay_out_anew()
        self.call_after_refresh(self._stay_at_end)  # how far one can scroll is known only then

    def _stay_at_end(self) -> None:
        if self._follows:
            self._resized()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        for entry in self._entries:
            entry.look = None
        self._lay_out_anew()

    # -- drawing ----------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        x, top = self.scroll_offset
        line, width = y + top, self.scrollable_content_region.width
        if line >= len(self._shown):
            return Strip.blank(width, self.rich_style)
        strip = self._selected(self._shown[line], line).apply_style(self.rich_style)
        return strip.crop_extend(x, x + width, self.rich_style).simplify().apply_offsets(x, line)

    def _selected(self, strip: Strip, line: int) -> Strip:
        """The line with what the mouse has marked of it."""
        selection = self.text_selection
        span = selection.get_span(line) if selection is not None else None
        if span is None:
            return strip
        start, end = span[0], strip.cell_length if span[1] == -1 else span[1]
        marked = strip.crop(start, end).apply_style(self.screen.get_component_rich_style("screen--selection"))
        return Strip.join([strip.crop(0, start), marked, strip.crop(end)])

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        return selection.extract(self.text), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()


def _same_at_start(before: list[Strip], after: list[Strip]) -> int:
    """How many lines did not change."""
    count = 0
    for old, new in zip(before, after, strict=False):
        if old is not new and old != new:
            break
        count += 1
    return count
