"""A growing text file of millions of lines, read by line number; only what is asked for is ever in memory."""

from __future__ import annotations

import os
import re
import shutil
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from toolkit.core.run import Run

SLICE = 1 << 20
"""Bytes handled at a time; nobody who waits for the interpreter waits longer than that takes."""
DRAWN = 4096
"""Bytes of a line that are shown; a longer one is cut."""
WHOLE = 1 << 20
"""Bytes of a line that are searched and copied."""

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])?")
_TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)
"""Characters that turn the direction of what follows."""
_CONTROLS = {**dict.fromkeys((*range(32), *range(127, 160), *_TURNING)), 9: " "}


@dataclass(frozen=True)
class Slice:
    """Some lines that follow each other: the number of the first, how many, and their bytes."""

    first: int
    count: int
    raw: bytes


class _Source:
    """One file as it was opened: where its lines begin. It stays readable when its name is gone."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115  closed when nobody reads it any more
        self.starts = array("Q", [0])
        self.size = 0
        """Bytes that are indexed."""

    def is_of(self, found: os.stat_result) -> bool:
        mine = os.fstat(self.file.fileno())
        return (mine.st_ino, mine.st_dev) == (found.st_ino, found.st_dev) and found.st_size >= self.size

    def grow(self) -> bool:
        """Index the next slice; False where nothing is new."""
        chunk = os.pread(self.file.fileno(), SLICE, self.size)
        if not chunk:
            return False
        pieces = chunk.split(b"\n")
        if len(pieces) > 1:
            pieces.pop()
            ends = accumulate((len(piece) + 1 for piece in pieces), initial=self.size)
            next(ends)
            self.starts.extend(ends)
        self.size += len(chunk)
        return True

    def count(self) -> int:
        """Lines, a last one without its end included."""
        return len(self.starts) - (self.starts[-1] >= self.size)

    def span(self, number: int) -> tuple[int, int]:
        """First byte of a line, and the byte after its last."""
        start = self.starts[number]
        return start, self.starts[number + 1] - 1 if number + 1 < len(self.starts) else self.size

    def read(self, start: int, end: int) -> bytes:
        return os.pread(self.file.fileno(), end - start, start)


class LogFile:
    """Random access to the lines of a file that others write, truncate or delete. One thread grows it; any may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source: _Source | None = None
        self.generation = 0
        """Counts up when the file was replaced or cut short: what was found in it means nothing any more."""

    def grow(self) -> bool:
        """Take in the next slice of what is new; False where there is nothing more to be had now."""
        try:
            found = os.stat(self.path)
        except OSError:
            return self._source is not None and self._source.grow()
        if self._source is None or not self._source.is_of(found):
            if self._source is not None:
                self.generation += 1
            try:
                self._source = _Source(self.path)
            except OSError:
                self._source = None
                return False
        return self._source.grow()

    @property
    def size(self) -> int:
        return self._source.size if self._source else 0

    def __len__(self) -> int:
        return self._source.count() if self._source else 0

    @property
    def whole_lines(self) -> int:
        """Lines that have their end; those change no more."""
        return len(self._source.starts) - 1 if self._source else 0

    def line(self, number: int) -> str:
        """A line as it is shown: its newest part where it was rewritten by carriage returns, cut where it is very long."""
        found = self._span(number)
        if found is None:
            return ""
        source, start, end = found
        if end - start <= DRAWN:
            return shown(source.read(start, end))
        tail = source.read(end - DRAWN, end)
        if b"\r" in tail.rstrip(b"\r"):
            return shown(tail)
        return f"{shown(source.read(start, start + DRAWN))}... ({end - start:,} bytes)"

    def whole(self, number: int) -> str:
        """A line to copy: not cut, but for one of more than a megabyte."""
        found = self._span(number)
        if found is None:
            return ""
        source, start, end = found
        return shown(source.read(max(start, end - WHOLE), end))

    def _span(self, number: int) -> tuple[_Source, int, int] | None:
        source = self._source
        if source is None or not 0 <= number < source.count():
            return None
        return source, *source.span(number)

    def slices(self, first: int, last: int) -> Iterator[Slice]:
        """The lines from `first` up to and without `last`, about a megabyte at a time."""
        while first < last and self._source:
            until = self._slice_end(first, last)
            yield self._slice(first, until)
            first = until

    def slices_back(self, first: int, last: int) -> Iterator[Slice]:
        """The same from the end to the beginning."""
        while first < last and self._source:
            begin = self._slice_begin(first, last)
            yield self._slice(begin, last)
            last = begin

    def _slice_end(self, first: int, last: int) -> int:
        starts = self._source.starts
        return max(first + 1, min(last, bisect_right(starts, starts[first] + SLICE, first, min(last + 1, len(starts))) - 1))

    def _slice_begin(self, first: int, last: int) -> int:
        source = self._source
        end = source.starts[last] if last < len(source.starts) else source.size
        return min(last - 1, max(first, bisect_left(source.starts, max(end - SLICE, 0), first, last)))

    def _slice(self, first: int, last: int) -> Slice:
        source = self._source
        start, end = source.span(first)[0], source.span(last - 1)[1]
        if last - first == 1 and end - start > WHOLE:
            start = end - WHOLE
        return Slice(first, last - first, source.read(start, end))


def shown(raw: bytes) -> str:
    """The bytes of a line as text for a terminal: its newest part, no control characters, no escape sequences."""
    return plain(newest_part(raw).decode("utf-8", "replace"))


def plain(text: str) -> str:
    """Text that others wrote, without what would command a terminal."""
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    return text if text.isprintable() else text.translate(_CONTROLS)


def newest_part(raw: bytes) -> bytes:
    """What a terminal would show of a line that rewrites itself."""
    return raw.rstrip(b"\r").rpartition(b"\r")[2] if b"\r" in raw else raw


def save(log: LogFile, target: Path, numbers: Iterable[int] | None = None) -> int:
    """Write the log, or some of its lines as shown, to a new file; returns its bytes.

    Raises:
        OSError: the file is there already, or cannot be written.
    """
    with open(target, "xb") as out:
        if numbers is None:
            with open(log.path, "rb") as source:
                shutil.copyfileobj(source, out, SLICE)
        else:
            out.writelines(log.whole(number).encode() + b"\n" for number in numbers)
        return out.tell()


def log_path(run: Run, step: str = "") -> Path:
    """The log of a run, or of one of its steps; of a run that wrote none, that of what drives it."""
    if step:
        return run.folder / "steps" / step / "log.txt"
    own = run.folder / "log.txt"
    return own if own.exists() or run.kind == "build" else run.folder / "driver.log"
