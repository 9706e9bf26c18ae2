"""Where in a TOML file a key stands, so that an error can name the line. `tomllib` reads the file; this only finds places."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Path = tuple[str | int, ...]


def key_lines(text: str) -> dict[Path, int]:
    """Line (from 1) of every table header and key, by its path: `("adapters", 0, "train")`."""
    lines: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        header = _HEADER.match(line)
        if header:
            table = _table_path(header, counts)
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if not key:
            continue
        path = (*table, *_parts(key[1]))
        lines.setdefault(path, number)
        _inline_keys(line[key.end() :], path, number, lines)
        quote = _opened_quote(line[key.end() :])
    return lines


def line_of(text: str, path: Path) -> int:
    """The line of the path, or of the nearest thing around it that has one; 1 where nothing has."""
    return nearest_line(key_lines(text), path)


def nearest_line(lines: Mapping[Path, int], path: Path) -> int:
    """As `line_of`, for text whose lines are known."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _table_path(header: re.Match[str], counts: dict[Path, int]) -> Path:
    path: Path = ()
    *parents, last = _parts(header[2])
    for part in parents:
        path = (*path, part)
        if path in counts:
            path = (*path, counts[path])
    path = (*path, last)
    if header[1] == "[":
        return path
    counts[path] = counts.get(path, -1) + 1
    return (*path, counts[path])


def _inline_keys(value: str, path: Path, number: int, lines: dict[Path, int]) -> None:
    if value.lstrip().startswith("{"):
        for name in re.findall(r"[{,]\s*([A-Za-z0-9_-]+)\s*=", value):
            lines.setdefault((*path, name), number)


def _opened_quote(value: str) -> str:
    for quote in ('"""', "'''"):
        if value.count(quote) % 2:
            return quote
    return ""
