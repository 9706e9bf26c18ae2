"""Layers as bars: how large each is, or how far it is, told by length, letter, sign and word as well as by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

LOOKS = {
    "runtime": ("R", "▒", "$secondary"),
    "model": ("M", "█", "$primary"),
    "adapter": ("A", "▓", "$accent"),
    "configuration": ("C", "■", "$success"),
    "other": ("?", "■", "$foreground"),
}
"""Letter, sign and colour of each group of layers."""
WORDS = {"new": "$accent", "missing": "$accent", "moving": "$accent", "again": "$warning", "unknown": "$warning"}
"""Words that stand out; the others are muted."""


@dataclass(frozen=True)
class Bar:
    """One line: a layer, its size, a bar, and a word."""

    group: str
    name: str
    size: str
    length: float
    """Share of the room that the whole bar takes: 0 to 1."""
    word: str = ""
    filled: float | None = None
    """Share of the bar that is done: 0 to 1; None: a bar that only shows a size."""


class SizeBars(Widget):
    """Lines of bars; `stacked` puts one line over them in which all sizes stand side by side."""

    DEFAULT_CSS = "SizeBars { height: auto; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.bars: tuple[Bar, ...] = ()
        self._stack: tuple[tuple[str, float], ...] = ()

    def show(self, bars: Sequence[Bar], stacked: Sequence[tuple[str, float]] = ()) -> None:
        """Draw these; the same again changes nothing. `stacked`: (group, share) of each layer, base first."""
        if (tuple(bars), tuple(stacked)) == (self.bars, self._stack):
            return
        is_as_high = (len(bars), bool(stacked)) == (len(self.bars), bool(self._stack))
        self.bars, self._stack = tuple(bars), tuple(stacked)
        self.refresh(layout=not is_as_high)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.bars) + bool(self._stack)

    def render(self) -> Content:
        width = self.content_size.width
        lines = [_stack_line(self._stack, width)] if self._stack else []
        name_width = min(max((len(bar.name) for bar in self.bars), default=0), 24, max(8, width // 3))
        return Content("\n").join([*lines, *(_line(bar, width, name_width) for bar in self.bars)])


def _line(bar: Bar, width: int, name_width: int) -> Content:
    letter, sign, colour = LOOKS[bar.group]
    room = max(0, width - name_width - 24)
    length = min(room, max(1, round(bar.length * room))) if bar.length else 0
    drawn = sign * length if bar.filled is None else _filled(bar.filled, length)
    return Content.assemble(
        (letter, f"bold {colour}"),
        f" {_cut(bar.name, name_width):<{name_width}} ",
        f"{bar.size:>9}  ",
        (drawn, colour),
        " " * (room - length),
        (f" {bar.word:<9}", WORDS.get(bar.word, "dim")),
    )


def _filled(share: float, length: int) -> str:
    full = int(share * length + 1e-6)
    return "█" * full + "░" * (length - full)


def _stack_line(stack: Sequence[tuple[str, float]], width: int) -> Content:
    """All of it in one line: each layer takes its share, one letter at least."""
    rest, parts = width, []
    for place, (group, share) in enumerate(stack):
        letter, sign, colour = LOOKS[group]
        after = len(stack) - place - 1
        length = min(max(1, round(share * width)), max(1, rest - after)) if after else max(1, rest)
        parts.append((letter + sign * (length - 1), colour))
        rest -= length
    return Content.assemble(*parts)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."
