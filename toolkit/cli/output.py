"""How commands speak: tables for people, JSON for programs, talk on stderr."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
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


_CONTROLS = dict.fromkeys((*range(10), *range(11, 32), *range(127, 160)))
"""Data may hold terminal codes; a table shows none of them."""


def plain(text: str) -> str:
    """The text without terminal codes."""
    return text.translate(_CONTROLS)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """A table on stdout; `right` names the headings of columns that align right.

    By tabulate and not by rich, which takes 0.2 s for 500 rows.
    """
    from tabulate import tabulate

    cells = [[plain(str(cell)) for cell in row] for row in rows]
    sides = ["right" if heading in right else "left" for heading in headings] if cells else None
    widths = _fitted(headings, cells) if sys.stdout.isatty() else None
    click.echo(tabulate(cells, list(headings), tablefmt="simple", colalign=sides, maxcolwidths=widths, disable_numparse=True))


NARROWEST = 20
"""No column gives way below this."""


def _fitted(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    """Widths that fit the terminal; the widest columns give way."""
    widths = [max(len(line) for cell in column for line in cell.splitlines() or [""]) for column in zip(headings, *cells, strict=True)]
    room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return [max(width, 1) for width in widths]


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
