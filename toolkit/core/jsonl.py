"""Read JSONL line by line and say exactly what is wrong where. Knows lines and JSON; nothing of templates or tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from toolkit.errors import DataError

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors put before UTF-8."""


class Kind(StrEnum):
    """What can be wrong with a dataset; the value is a name for people and for JSON."""

    BROKEN_JSON = "broken JSON"
    NOT_AN_OBJECT = "not an object"
    WRONG_ENCODING = "wrong encoding"
    EMPTY_FILE = "empty file"
    MISSING_FIELD = "missing field"
    NOT_TEXT = "not text"
    EMPTY_TEXT = "empty text"
    TOO_LONG = "too long"
    LEAK = "leak"
    DUPLICATE = "duplicate"
    CONFLICT = "conflicting responses"
    BYTE_ORDER_MARK = "byte order mark"
    WINDOWS_LINES = "Windows line ends"
    BLANK_LINE = "blank line"

    @property
    def is_fatal(self) -> bool:
        """A run must not start with it."""
        return self not in WARNINGS


WARNINGS = frozenset({Kind.DUPLICATE, Kind.CONFLICT, Kind.BYTE_ORDER_MARK, Kind.WINDOWS_LINES, Kind.BLANK_LINE})
"""Kinds that a run may go on with."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a dataset, where it is, and what to do."""

    path: Path
    line: int
    """From 1; 0 when the whole file is meant."""
    kind: Kind
    message: str
    remedy: str

    @property
    def is_fatal(self) -> bool:
        return self.kind.is_fatal

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)

    def __str__(self) -> str:
        return f"{self.place}: {self.message} {self.remedy}"


@dataclass(frozen=True)
class Record:
    """One line that holds a JSON object."""

    path: Path
    line: int
    fields: dict[str, object]


def read_jsonl(path: Path) -> Iterator[Record | Problem]:
    """Every object of the file, and every problem, in the order of the lines; one line in memory at a time.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with open(path, "rb") as source:
            yield from _read_lines(path, source)
    except FileNotFoundError as exc:
        raise DataError(f"{path} does not exist.", "Correct the path in the recipe.") from exc
    except IsADirectoryError as exc:
        raise DataError(f"{path} is a folder.", "Name a JSONL file in it.") from exc
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {exc.strerror}.", "Check the permissions of the file.") from exc


def _read_lines(path: Path, source: Iterator[bytes]) -> Iterator[Record | Problem]:
    told: set[Kind] = set()
    offset, records = 0, 0
    for number, raw in enumerate(source, start=1):
        for habit in _habits(path, number, raw):
            if habit.kind not in told:
                told.add(habit.kind)
                yield habit
        line = raw.removeprefix(MARK) if number == 1 else raw
        found = _parse(path, number, line, offset + len(raw) - len(line))
        offset += len(raw)
        if found is not None:
            records += 1
            yield found
    if not records:
        yield Problem(path, 0, Kind.EMPTY_FILE, "the file holds no rows.", "Write one JSON object per line.")


def _habits(path: Path, number: int, raw: bytes) -> Iterator[Problem]:
    """What some editors do to text files; harmless, told once per file."""
    if number == 1 and raw.startswith(MARK):
        yield Problem(path, 1, Kind.BYTE_ORDER_MARK, "the file begins with a byte order mark.", "It is ignored.")
    if raw.endswith(b"\r\n"):
        yield Problem(path, number, Kind.WINDOWS_LINES, "lines end with CR LF.", "It is ignored.")
    if not raw.strip():
        yield Problem(path, number, Kind.BLANK_LINE, "a line is blank.", "Blank lines are skipped.")


def _parse(path: Path, number: int, line: bytes, offset: int) -> Record | Problem | None:
    """The record on a line; None for a blank line."""
    if not line.strip():
        return None
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as exc:
        return _wrong_encoding(path, number, line, offset, exc)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        return _broken_json(path, number, text, exc)
    if isinstance(value, dict):
        return Record(path, number, value)
    message = f"the line holds {json_type(value)}, not an object."
    return Problem(path, number, Kind.NOT_AN_OBJECT, message, 'Write {"prompt": "...", "response": "..."}.')


def _wrong_encoding(path: Path, number: int, line: bytes, offset: int, exc: UnicodeDecodeError) -> Problem:
    if b"\x00" in line:
        guess = "It looks like UTF-16: save the file as UTF-8."
    else:
        guess = "Save the file as UTF-8 (it may be Latin-1 or Windows-1252 now)."
    message = f"byte {offset + exc.start} (0x{line[exc.start]:02x}) is not UTF-8."
    return Problem(path, number, Kind.WRONG_ENCODING, message, guess)


def _broken_json(path: Path, number: int, text: str, exc: ValueError | RecursionError) -> Problem:
    if not isinstance(exc, json.JSONDecodeError):
        message = "JSON nested too deeply, or a number with too many digits."
        return Problem(path, number, Kind.BROKEN_JSON, message, "Keep the fields of a row flat, and texts in quotes.")
    remedy = "Write one JSON object per line, with keys and texts in double quotes."
    if number == 1 and text.strip() in ("[", "{"):
        remedy = "The file is one JSON value over many lines; write each row as one object on one line."
    return Problem(path, number, Kind.BROKEN_JSON, f"no valid JSON at column {exc.colno}: {exc.msg}.", remedy)


def json_type(value: object) -> str:
    """The JSON type of a value in words: a list, a number, null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {list: "a list", str: "a text", int: "a number", float: "a number", dict: "an object"}
    return names[type(value)]
