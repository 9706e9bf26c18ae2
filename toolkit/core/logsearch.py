"""Looking for text in logs of millions of lines: a search to the next line that fits, a filter that keeps up with the file."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable

from toolkit.core.logfile import LogFile, Slice, newest_part


class Pattern:
    """What is looked for: letters in any case unless one is a capital; a leading `!` turns it round."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_inverse = text.startswith("!") and len(text) > 1
        self.needle = text[1:] if self.is_inverse else text
        self.is_exact = self.needle != self.needle.lower()
        self._bytes = (self.needle if self.is_exact else self.needle.lower()).encode()

    def hits(self, piece: Slice) -> list[int]:
        """Numbers of the lines that fit."""
        folded = self._folded(piece.raw)
        wanted = self._bytes
        if not self.is_inverse and wanted not in folded:
            return []
        lines = folded.split(b"\n")[: piece.count]
        if self.is_inverse:
            return [number for number, line in enumerate(lines, piece.first) if wanted not in line]
        return [number for number, line in enumerate(lines, piece.first) if wanted in line]

    def _folded(self, raw: bytes) -> bytes:
        if b"\r" in raw:
            raw = b"\n".join([newest_part(line) for line in raw.split(b"\n")])
        if self.is_exact:
            return raw
        if self._bytes.isascii():
            return raw.lower()
        return raw.decode("utf-8", "replace").lower().encode()

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where in a shown line it is: (from, to) of each."""
        if self.is_inverse or not self.needle:
            return []
        flags = 0 if self.is_exact else re.IGNORECASE
        return [found.span() for found in re.finditer(re.escape(self.needle), text, flags)]


def search(
    log: LogFile,
    pattern: Pattern,
    start: int,
    is_back: bool = False,
    within: Pattern | None = None,
    leave: Callable[[], bool] = lambda: False,
) -> int | None:
    """The next line that fits after `start` (before it: `is_back`), going on at the other end; None: no line does.

    With `within`, of the lines that fit that too.
    """
    count = len(log)
    if is_back:
        pieces = ((log.slices_back, 0, min(start, count)), (log.slices_back, max(start, 0), count))
    else:
        pieces = ((log.slices, max(start + 1, 0), count), (log.slices, 0, min(start + 1, count)))
    for slices, first, last in pieces:
        for piece in slices(first, last):
            if leave():
                return None
            hits = pattern.hits(piece)
            if hits and within:
                hits = sorted({*hits}.intersection(within.hits(piece)))
            if hits:
                return hits[-1 if is_back else 0]
    return None


class Filtered:
    """The numbers of the lines that fit, kept up with a file that grows."""

    def __init__(self, log: LogFile, pattern: Pattern) -> None:
        self.pattern = pattern
        self.numbers = array("Q")
        self._log, self._generation = log, log.generation
        self._done = 0
        self._has_open_line = False
        """The last number is of a line that has no end yet, and may fit no more once it has."""

    def grow(self) -> bool:
        """Look through the next slice; False where all there is has been looked through."""
        if self._generation != self._log.generation:
            self.__init__(self._log, self.pattern)
        if self._has_open_line:
            self.numbers.pop()
            self._has_open_line = False
        for piece in self._log.slices(self._done, self._log.whole_lines):
            self.numbers.extend(self.pattern.hits(piece))
            self._done = piece.first + piece.count
            return True
        for piece in self._log.slices(self._done, len(self._log)):
            self.numbers.extend(self.pattern.hits(piece))
            self._has_open_line = bool(self.pattern.hits(piece))
        return False
