"""Curves drawn with characters: blocks for the first, a sign of its own for each other; axes with numbers, a legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from textual import events
from textual.content import Content
from textual.widgets import Static

from toolkit.core.curves import Curve

BLOCKS = "█"
"""Mark of a curve that is drawn with half blocks, twice as fine as the others."""
LOG_FROM = 30.0
"""A curve that spans more than this factor is drawn on a logarithmic scale, where it may be."""
Cell = tuple[str, str]
"""A character and its style."""


@dataclass(frozen=True)
class Line:
    """One curve: its name and mark in the legend, and the scale it belongs to."""

    name: str
    curve: Curve
    mark: str = BLOCKS
    style: str = "$primary"
    is_right: bool = False
    """Measured on the axis at the right."""
    figure: Callable[[float], str] = "{:.3g}".format


@dataclass(frozen=True)
class Scale:
    """From values to shares of the height."""

    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        low, high, value = (self._bent(v) for v in (self.low, self.high, value))
        return 0.5 if high <= low else min(max((value - low) / (high - low), 0.0), 1.0)

    def value(self, share: float) -> float:
        low, high = self._bent(self.low), self._bent(self.high)
        value = low + share * (high - low)
        return math.exp(value) if self.is_log else value

    def _bent(self, value: float) -> float:
        return math.log(max(value, 1e-300)) if self.is_log else value


def scale_of(lines: Sequence[Line], bounds: tuple[float, float] | None, may_log: bool) -> Scale:
    """The scale that holds all values; logarithmic where that shows more."""
    values = [y for line in lines for y in line.curve.ys if math.isfinite(y)]
    if bounds or not values:
        return Scale(*(bounds or (0.0, 1.0)))
    low, high = min(values), max(values)
    return Scale(low, high, may_log and low > 0 and high / low > LOG_FROM)


def columns_of(curve: Curve, scale: Scale, first: float, last: float, width: int) -> dict[int, float]:
    """Column -> share of the height: the mean of the points that fall into it, and straight lines across empty ones."""
    found: dict[int, list[float]] = {}
    for x, y in zip(curve.xs, curve.ys, strict=True):
        if math.isfinite(y):
            column = round((x - first) / (last - first) * (width - 1)) if last > first else 0
            found.setdefault(min(max(column, 0), width - 1), []).append(scale.share(y))
    means = {column: sum(shares) / len(shares) for column, shares in sorted(found.items())}
    known = list(means)
    for left, right in zip(known, known[1:], strict=False):
        for column in range(left + 1, right):
            part = (column - left) / (right - left)
            means[column] = means[left] + part * (means[right] - means[left])
    return means


class Plot(Static):
    """Draws what it is given into the room it has; the same picture again sends nothing to the terminal."""

    def __init__(self, empty: str, bounds: tuple[float, float] | None = None, may_log: bool = False, **kwargs) -> None:
        super().__init__(empty, markup=False, **kwargs)
        self.empty, self._bounds, self._may_log = empty, bounds, may_log
        self._lines: tuple[Line, ...] = ()
        self._x_figure: Callable[[float], str] = "{:g}".format
        self._x_unit = ""
        self._drawn = empty

    def show(self, lines: Sequence[Line], x_figure: Callable[[float], str], x_unit: str = "") -> None:
        """Draw these from now on; curves without points are left out."""
        self._lines, self._x_figure, self._x_unit = tuple(line for line in lines if line.curve.xs), x_figure, x_unit
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        width, height = self.content_size
        picture = self._picture(width, height) if self._lines and width >= 20 and height >= 4 else Content(self.empty)
        if (told := picture.markup) != self._drawn:
            self._drawn = told
            self.update(picture, layout=False)

    def _picture(self, width: int, height: int) -> Content:
        left = [line for line in self._lines if not line.is_right]
        right = [line for line in self._lines if line.is_right]
        scales = scale_of(left or right, self._bounds, self._may_log), scale_of(right, None, False)
        rows = height - 2
        labels = _labels(scales[0], left or right, rows), _labels(scales[1], right, rows) if right and left else [""] * rows
        margins = max(map(len, labels[0])), max(map(len, labels[1]))
        room = max(width - margins[0] - 1 - (margins[1] + 1 if margins[1] else 0), 4)
        grid = self._grid(scales, room, rows)
        drawn = [_legend(self._lines, scales[0].is_log, width)]
        for row in range(rows):
            cells = [(f"{labels[0][row]:>{margins[0]}}", "dim"), ("┤" if labels[0][row] else "│", "dim"), *grid[row]]
            if margins[1]:
                cells.append((f"{'├' if labels[1][row] else '│'}{labels[1][row]}", "dim"))
            drawn.append(_joined(cells))
        drawn.append(Content.styled(" " * margins[0] + self._x_axis(room), "dim"))
        return Content("\n").join(drawn)

    def _grid(self, scales: tuple[Scale, Scale], room: int, rows: int) -> list[list[Cell]]:
        grid: list[list[Cell]] = [[(" ", "")] * room for _ in range(rows)]
        first, last = self._span()
        for line in reversed(self._lines):
            scale = scales[1] if line.is_right and any(not other.is_right for other in self._lines) else scales[0]
            columns = columns_of(line.curve, scale, first, last, room)
            (_draw_blocks if line.mark == BLOCKS else _draw_marks)(grid, columns, line, rows)
        return grid

    def _span(self) -> tuple[float, float]:
        return min(line.curve.xs[0] for line in self._lines), max(line.curve.xs[-1] for line in self._lines)

    def _x_axis(self, room: int) -> str:
        """The line under the picture with the numbers of its two ends in it."""
        first, last = (self._x_figure(x) for x in self._span())
        return f"└{first} " + f" {last}{self._x_unit}".rjust(max(room - len(first) - 1, 0), "─")


def _labels(scale: Scale, lines: Sequence[Line], rows: int) -> list[str]:
    """The number beside each row; empty for most."""
    at = {0, rows - 1} | ({rows // 2} if rows >= 5 else set())
    figure = lines[0].figure
    return [figure(scale.value(1 - row / max(rows - 1, 1))) if row in at else "" for row in range(rows)]


def _draw_blocks(grid: list[list[Cell]], columns: dict[int, float], line: Line, rows: int) -> None:
    """Half blocks; steep pieces are filled, so that the curve hangs together."""
    before: int | None = None
    for column in sorted(columns):
        level = round((1 - columns[column]) * (rows * 2 - 1))
        begin = level if before is None or abs(level - before) <= 1 else before + (1 if level > before else -1)
        for half in range(min(begin, level), max(begin, level) + 1):
            row, is_lower = divmod(half, 2)
            there, style = grid[row][column]
            other = "▀" if is_lower else "▄"
            grid[row][column] = ("█" if style == line.style and there in (other, "█") else "▄" if is_lower else "▀", line.style)
        before = level


def _draw_marks(grid: list[list[Cell]], columns: dict[int, float], line: Line, rows: int) -> None:
    for column, share in columns.items():
        grid[round((1 - share) * (rows - 1))][column] = (line.mark, line.style)


def _legend(lines: Sequence[Line], is_log: bool, width: int) -> Content:
    """The newest value of each curve beside its mark; what does not fit is left away whole."""
    told: list[Content] = []
    room = width
    for line in lines:
        text = f" {line.name} {line.figure(line.curve.ys[-1])}" + (" (log)" if is_log and not line.is_right else "") + "  "
        room -= len(text) + 1
        if room < 0:
            break
        told += [Content.styled(line.mark, line.style), Content(text)]
    return Content("").join(told)


def _joined(cells: Sequence[Cell]) -> Content:
    """One row, as few pieces as it has styles."""
    runs = [("".join(text for text, _ in run), style) for style, run in groupby(cells, key=lambda cell: cell[1])]
    return Content.assemble(*runs)
