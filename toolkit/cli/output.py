"""How commands speak: tables for people, JSON for programs, talk on stderr."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

import click


def say(text: str = "") -> None:
    """Talk: to stderr, so that stdout stays data."""
    click.echo(text, err=True)


def emit_json(value: Any) -> None:
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=1))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


GAP = "  "
NARROWEST = 20
"""No column gives way below this."""
_CONTROLS = dict.fromkeys((*range(10), *range(11, 32), *range(127, 160)))
"""Data may hold terminal codes; a table shows none of them."""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table on stdout; `right` names the headings of columns that align right.

    Drawn here and not by rich, which takes 0.2 s for 500 rows.
    """
    lines = [[str(cell).translate(_CONTROLS).splitlines() or [""] for cell in row] for row in (headings, *rows)]
    widths = [max(_cells(line) for cell in column for line in cell) for column in zip(*lines, strict=True)]
    if sys.stdout.isatty():
        widths = _fitted(widths, shutil.get_terminal_size().columns)
    sides = [heading in right for heading in headings]
    drawn = [_row(row, widths, sides) for row in lines]
    click.secho(drawn[0], bold=True)
    click.echo("─" * (sum(widths) + len(GAP) * (len(widths) - 1)))
    if rows:
        click.echo("\n".join(drawn[1:]))


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes: ideographs take two."""
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """The widest columns give way where the table would not fit."""
    fitted = list(widths)
    while sum(fitted) + len(GAP) * (len(fitted) - 1) > room and max(fitted) > NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _row(row: Sequence[Sequence[str]], widths: Sequence[int], sides: Sequence[bool]) -> str:
    """One row, on as many lines as its tallest cell."""
    folded = [[part for line in cell for part in _folded(line, width)] for cell, width in zip(row, widths, strict=True)]
    lines = itertools.zip_longest(*folded, fillvalue="")
    return "\n".join(GAP.join(map(_padded, line, widths, sides)).rstrip() for line in lines)


def _folded(line: str, width: int) -> list[str]:
    taken = _cells(line)
    if taken <= width:
        return [line]
    return textwrap.wrap(line, width if taken == len(line) else width // 2)


def _padded(text: str, width: int, is_right: bool) -> str:
    room = " " * (width - _cells(text))
    return room + text if is_right else text + room


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
