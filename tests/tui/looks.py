"""Judging what is on a screen by what was rendered: contrast of text, and signs that a Linux console cannot draw."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from rich.color import Color
from rich.segment import Segment
from textual.app import App
from textual.geometry import Region

READABLE = 4.5
"""Contrast of normal text by the WCAG, level AA."""
DRAWN = set("─│┌┐└┘├┤┬┴┼█▀▄▌▐░▒▓■ ")
"""Lines and areas: no text."""
CONSOLE = (
    {chr(code) for code in range(0x20, 0x7F)}
    | {chr(code) for code in range(0xA1, 0x100)}
    | DRAWN
    | set("•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼⌂═║╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬ƒ…–—‘’“”€")
)
"""What the fonts of a Linux console hold: the letters of Latin-1, code page 437's lines and signs, common punctuation."""


@dataclass(frozen=True)
class Poor:
    """Text that is hard to read."""

    text: str
    ink: str
    paper: str
    ratio: float

    def __str__(self) -> str:
        return f"{self.text!r}: {self.ink} on {self.paper} is {self.ratio:.1f}:1"


def poorly_readable(app: App) -> list[Poor]:
    """Text with less contrast than a person needs, dim text included."""
    found = {}
    for segment in _segments(app):
        text = "".join(char for char in segment.text if char not in DRAWN).strip()
        if not text or segment.style is None or segment.style.color is None or segment.style.bgcolor is None:
            continue
        ink, paper = segment.style.color, segment.style.bgcolor
        ratio = contrast(ink, paper)
        if ratio < READABLE:
            found.setdefault((text, ink, paper), Poor(segment.text.strip(), _name(ink), _name(paper), ratio))
    return list(found.values())


def strange_signs(app: App) -> set[str]:
    """Signs no console font has."""
    return {char for segment in _segments(app) for char in segment.text if char not in CONSOLE}


def named(signs: set[str]) -> str:
    return ", ".join(f"{char} U+{ord(char):04X} {unicodedata.name(char, '?')}" for char in sorted(signs))


def contrast(one: Color, other: Color) -> float:
    """From 1, the same, to 21, black and white."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Color) -> float:
    parts = [part / 255 for part in color.get_truecolor()]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _name(color: Color) -> str:
    return color.get_truecolor().hex


def _segments(app: App) -> Iterator[Segment]:
    """What is drawn, reversed text turned round. Over a screen that waits, only what lies on top counts: the rest is meant to fade."""
    on_top = _regions_on_top(app)
    for line, strip in enumerate(app.screen._compositor.render_strips()):
        column = 0
        for segment in strip:
            if on_top is None or any(region.contains(column, line) for region in on_top):
                yield _turned(segment)
            column += segment.cell_length


def _regions_on_top(app: App) -> list[Region] | None:
    if not app.screen.is_modal:
        return None
    leaves = [widget for widget in app.screen.query("*") if not widget.children and widget.visible and widget.display and widget.region]
    return [app.screen.find_widget(widget).visible_region for widget in leaves]


def _turned(segment: Segment) -> Segment:
    style = segment.style
    if not style or not style.reverse:
        return segment
    return Segment(segment.text, style.from_color(style.bgcolor, style.color), segment.control)
