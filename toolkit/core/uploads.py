"""Uploads that were begun, so that a killed push goes on where it was.

A location may hold a token: its file is the owner's alone, and nothing of it is ever said.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

REMEMBERED_FILE = "uploads.json"


class Uploads:
    """Locations of begun uploads by repository and digest, in a file that only its owner reads; gone with the last of them."""

    def __init__(self, file: Path, others: Iterable[Path] = ()) -> None:
        """`others`: such files of earlier attempts, which are read and never written."""
        self.file, self._writing = file, threading.Lock()
        self._known = _read(file)
        self._others: dict[str, str] = {}
        for other in others:
            self._others |= _read(other)

    def location(self, key: str) -> str:
        """Empty: none is known."""
        return self._known.get(key) or self._others.get(key, "")

    def remember(self, key: str, location: str) -> None:
        with self._writing:
            if self._known.get(key) != location:
                self._known[key] = location
                self._write()

    def forget(self, key: str) -> None:
        with self._writing:
            self._others.pop(key, None)
            if self._known.pop(key, None) is not None:
                self._write()

    def _write(self) -> None:
        if not self._known:
            self.file.unlink(missing_ok=True)
            return
        part = self.file.with_name(f".{self.file.name}.tmp")
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(self._known, out)
        os.replace(part, self.file)


def _read(file: Path) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in dict(json.loads(file.read_text("utf-8"))).items()}
    except (OSError, ValueError, TypeError):
        return {}
