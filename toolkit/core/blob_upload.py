"""One blob into a registry, piece by piece; after a cut it goes on from the first byte that the registry lacks.

How far an upload is lies in the run's folder, so that a killed push goes on too. A location may hold a token: its file is
the owner's alone, and nothing of it is ever said.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core.registry_session import Passing, Session
from toolkit.errors import PublishError

if TYPE_CHECKING:
    import httpx

CHUNK = 8 << 20
"""Bytes of a request, which are in memory once a layer."""
REMEMBERED_FILE = "uploads.json"
GONE = (400, 404, 410, 416)
"""The registry knows the upload no more, or not so."""
NEW_STARTS = 3
"""So often a blob is begun anew."""
Tell = Callable[[int], None]


class Stale(Exception):
    """The upload is not there any more."""


class Uploads:
    """Locations of begun uploads by repository and digest, in a file that only its owner reads."""

    def __init__(self, file: Path) -> None:
        self._file, self._writing = file, threading.Lock()
        self._known: dict[str, str] = {}
        with suppress(OSError, ValueError):
            self._known = {str(key): str(value) for key, value in dict(json.loads(file.read_text("utf-8"))).items()}

    def location(self, key: str) -> str:
        return self._known.get(key, "")

    def remember(self, key: str, location: str) -> None:
        with self._writing:
            self._known[key] = location
            self._write()

    def forget(self, key: str) -> None:
        with self._writing:
            if self._known.pop(key, None) is not None:
                self._write()

    def _write(self) -> None:
        if not self._known:
            self._file.unlink(missing_ok=True)
            return
        part = self._file.with_name(f".{self._file.name}.tmp")
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(self._known, out)
        os.replace(part, self._file)


class BlobUpload:
    """The way of one blob."""

    def __init__(self, session: Session, uploads: Uploads, digest: str, path: Path, size: int, chunk: int = CHUNK) -> None:
        self._session, self._uploads = session, uploads
        self._digest, self._path, self._size, self._chunk = digest, path, size, chunk
        self._key = f"{session.reference.host}/{session.reference.repository}@{digest}"
        self._location, self._offset, self._is_sure = uploads.location(self._key), 0, False

    def is_there(self) -> bool:
        ask = self._session
        answer = ask.patiently(lambda: ask.ask("HEAD", ask.url(f"blobs/{self._digest}"), (200, 404)))
        return answer.status_code == 200

    def mounted(self, source: str) -> bool:
        """The registry took it over from another of its repositories. Where it does not, it has begun an upload."""
        return self._session.patiently(lambda: self._begin(f"?mount={self._digest}&from={source}"))

    def send(self, tell: Tell) -> None:
        """Send what the registry lacks.

        Raises:
            PublishError: it refused, or stayed away.
        """
        for _ in range(NEW_STARTS):
            try:
                while self._offset < self._size or not self._is_sure:
                    self._session.patiently(self._next)  # patient anew with each piece that arrives
                    tell(self._offset)
                self._session.patiently(self._finish)
                self._uploads.forget(self._key)
                return
            except Stale:
                self._forget()
        raise PublishError(f"The registry {self._session.reference.host} loses uploads.", "Try again; if it stays, ask its keeper.")

    def _forget(self) -> None:
        self._uploads.forget(self._key)
        self._location, self._offset, self._is_sure = "", 0, False

    def _next(self) -> None:
        """Begin, find out how far it is, and send one piece."""
        if not self._location:
            self._begin("")
        if not self._is_sure:
            self._ask_offset()
        if self._offset < self._size:
            self._send_piece()

    def _begin(self, query: str) -> bool:
        url = self._session.url(f"blobs/uploads/{query}")
        answer = self._session.ask("POST", url, (201, 202))
        if answer.status_code == 201:
            return True
        self._take(answer, url)
        self._offset, self._is_sure = 0, True
        return False

    def _take(self, answer: httpx.Response, asked: str) -> None:
        """The location that the answer names; an upload may move with every request."""
        location = answer.headers.get("location", "")
        if not location and not self._location:
            raise PublishError(f"What answers at {self._session.reference.host} is no registry.", "Check the host and its port.")
        self._location = self._session.url(location, asked) if location else self._location
        self._uploads.remember(self._key, self._location)

    def _ask_offset(self) -> None:
        answer = self._session.ask("GET", self._location, (204, 202, *GONE))
        if answer.status_code in GONE:
            raise Stale
        self._take(answer, self._location)
        self._offset = self._stored(answer, 0)
        self._is_sure = True

    def _stored(self, answer: httpx.Response, otherwise: int) -> int:
        """Bytes the registry says it has. One without any says 0-0 too, and one that has a single byte: that one moves again."""
        found = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("range", ""))
        if not found:
            return otherwise
        stored = int(found[1]) + 1 if int(found[1]) else 0
        if stored > self._size:
            raise Stale
        return stored

    def _send_piece(self) -> None:
        with open(self._path, "rb") as blob:
            blob.seek(self._offset)
            piece = blob.read(min(self._chunk, self._size - self._offset))
        end = self._offset + len(piece)
        if not piece:
            raise PublishError(f"{self._path.name[:12]} is shorter than it was packaged.", "`edge package` the build again.")
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{self._offset}-{end - 1}"}
        try:
            answer = self._session.ask("PATCH", self._location, (202, 204, *GONE), piece, headers)
        except Passing:
            self._is_sure = False  # any part of the piece may have arrived
            raise
        if answer.status_code == 416:
            self._is_sure = False
            raise Passing("it lost count of what arrived")
        if answer.status_code in GONE:
            raise Stale
        self._take(answer, self._location)
        self._offset = self._stored(answer, end)

    def _finish(self) -> None:
        url = f"{self._location}{'&' if '?' in self._location else '?'}digest={self._digest}"
        try:
            answer = self._session.ask("PUT", url, (201, 204, *GONE), headers={"Content-Length": "0"})
        except Passing:
            if self.is_there():  # only its answer was lost
                return
            raise
        if b"DIGEST_INVALID" in answer.content:
            self._forget()
            raise PublishError(
                f"The registry got other bytes than those of {self._digest[:19]}.",
                "The layout's file may be damaged: `edge package` the build again.",
            )
        if answer.status_code in GONE:
            if self.is_there():
                return
            raise Stale
