"""One blob into a registry, piece by piece; after a cut it goes on from the first byte that the registry lacks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.registry_session import ELSEWHERE, Answer, Passing, Session, TooLarge
from toolkit.core.second_request import Piece, SecondRequests
from toolkit.core.uploads import Uploads
from toolkit.errors import PublishError, RegistryDenied

READ = 256 << 10
"""Bytes that are in memory at a time, once a layer."""
SMALL = 1 << 20
"""A blob up to here goes in one request."""
GONE = (400, 404, 410, 416)
"""The registry knows the upload no more, or not so."""
NEW_STARTS = 4
"""So often a blob is begun anew."""
Tell = Callable[[int], None]


class Left(Exception):
    """What `tell` raises where nobody wants the blob any more."""


class Stale(Exception):
    """The upload is not there any more."""


@dataclass
class PieceSize:
    """How much goes in one request: as much as the line carries in a few seconds.

    What a cut costs is a piece at most, where the registry keeps none of it; gateways end requests that last; and a registry
    has each piece on its disk before it answers, so small ones are slow.
    """

    bytes: int = 16 << 20
    least: int = 1 << 20
    most: int = 128 << 20
    seconds: float = 4

    def took(self, sent: int, seconds: float) -> None:
        """Half to twice as much next time."""
        if sent >= self.bytes:
            self.bytes = self._within(int(self.bytes * min(2.0, max(0.5, self.seconds / max(seconds, 0.001)))))

    def was_cut(self) -> None:
        """A bad line gets smaller ones, until one comes through."""
        self.bytes = self._within(self.bytes // 2)

    def is_too_large(self) -> bool:
        """Smaller ones from here on; False: they are as small as they can be."""
        if self.bytes <= self.least:
            return False
        self.most = max(self.least, self.bytes // 4)
        self.bytes = self._within(self.most)
        return True

    def at_least(self, size: int) -> None:
        """What the registry asks for."""
        self.least = max(self.least, size)
        self.most = max(self.most, self.least)
        self.bytes = self._within(self.bytes)

    def _within(self, size: int) -> int:
        return min(self.most, max(self.least, size))


class BlobUpload:
    """The way of one blob."""

    def __init__(
        self,
        session: Session,
        uploads: Uploads,
        digest: str,
        path: Path,
        size: int,
        piece: PieceSize | None = None,
        second: SecondRequests | None = None,
    ) -> None:
        self._session, self._uploads, self._second = session, uploads, second
        self._digest, self._path, self._size, self._piece = digest, path, size, piece or PieceSize()
        self.key = f"{session.reference.host}/{session.reference.repository}@{digest}"
        self._location, self._offset, self._is_sure = uploads.location(self.key), 0, False
        self._is_pure = not self._location
        """All bytes of this upload went in whole pieces: nothing can have got muddled."""
        self.sent = 0
        """Bytes that were handed to the line, also those that went twice."""

    @property
    def is_begun(self) -> bool:
        """An earlier attempt left an upload to go on with."""
        return bool(self._location)

    def is_there(self) -> bool:
        ask = self._session
        answer = ask.patiently(lambda: ask.ask("HEAD", ask.url(f"blobs/{self._digest}"), (200, 404, *ELSEWHERE)))
        return answer.status != 404

    def mounted(self, source: str) -> bool:
        """The registry took it over from another of its repositories. Where it does not, it has begun an upload, or refused."""
        try:
            return self._session.patiently(lambda: self._begin(f"?mount={self._digest}&from={source}"))
        except PublishError:
            return False  # a real problem comes back with the first piece

    def send(self, tell: Tell) -> None:
        """Send what the registry lacks; `tell` is told how far it is, also backwards.

        Raises:
            PublishError: it refused, or stayed away.
        """
        for _ in range(NEW_STARTS):
            try:
                if self._size <= SMALL:
                    self._session.patiently(lambda: self._send_whole(tell))
                else:
                    self._send_pieces(tell)
                self._uploads.forget(self.key)
                return
            except Stale:
                self._forget()
                tell(0)
        raise PublishError(f"The registry {self._session.reference.host} loses uploads.", "Try again; if it stays, ask its keeper.")

    def _send_pieces(self, tell: Tell) -> None:
        while self._offset < self._size or not self._is_sure:
            self._session.patiently(lambda: self._next(tell))  # patient anew with each piece that arrives
            tell(self._offset)
        self._session.patiently(self._finish)

    def _send_whole(self, tell: Tell) -> None:
        if not (self._location and self._is_sure and self._offset == 0):
            self._begin("")
        self._is_sure = False
        self._finish(self._slice(0, self._size, tell))
        tell(self._size)

    def _forget(self) -> None:
        self._uploads.forget(self.key)
        self._location, self._offset, self._is_sure, self._is_pure = "", 0, False, True

    def _next(self, tell: Tell) -> None:
        """Begin, find out how far it is, and send one piece."""
        if not self._location:
            self._begin("")
        if not self._is_sure:
            self._ask_offset()
            tell(self._offset)
        if self._offset < self._size:
            self._send_piece(tell)

    def _begin(self, query: str) -> bool:
        url = self._session.url(f"blobs/uploads/{query}")
        answer = self._session.ask("POST", url, (201, 202))
        if answer.status == 201:
            return True
        if asked := re.fullmatch(r"\d{1,12}", answer.headers.get("oci-chunk-min-length", "")):
            self._piece.at_least(int(asked[0]))
        self._take(answer, url)
        self._offset, self._is_sure, self._is_pure = 0, True, True
        return False

    def _take(self, answer: Answer, asked: str) -> None:
        """The location that the answer names; an upload may move with every request."""
        location = answer.headers.get("location", "")
        if not location and not self._location:
            raise PublishError(f"What answers at {self._session.reference.host} is no registry.", "Check the host and its port.")
        self._location = self._session.url(location, asked) if location else self._location
        if self._size > SMALL:
            self._uploads.remember(self.key, self._location)

    def _ask_offset(self) -> None:
        self._is_pure = False
        try:
            answer = self._session.ask("GET", self._location, (204, 202, *GONE))
        except (PublishError, RegistryDenied):
            raise Stale from None  # whatever it has against this upload, it may take another one
        if answer.status in GONE:
            raise Stale
        self._take(answer, self._location)
        self._offset = self._stored(answer, 0)
        self._is_sure = True

    def _stored(self, answer: Answer, otherwise: int) -> int:
        """Bytes the registry says it has. One without any says 0-0 too, and one that has a single byte: that one moves again."""
        found = re.fullmatch(r"(?:bytes=)?0-(\d{1,15})", answer.headers.get("range", ""))
        if not found:
            return otherwise
        stored = int(found[1]) + 1 if int(found[1]) else 0
        if stored > self._size:
            raise Stale
        return stored

    def _slice(self, start: int, end: int, tell: Tell) -> Callable[[], Iterator[bytes]]:
        def read() -> Iterator[bytes]:
            place = start
            with open(self._path, "rb", buffering=0) as blob:
                blob.seek(start)
                while place < end:
                    part = blob.read(min(READ, end - place))
                    if not part:
                        raise PublishError(f"{self._path.name[:12]} is shorter than it was packaged.", "`edge package` the build again.")
                    tell(place)
                    self.sent += len(part)
                    yield part
                    place += len(part)

        return read

    def _send_piece(self, tell: Tell) -> None:
        start, end = self._offset, min(self._offset + self._piece.bytes, self._size)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - start), "Content-Range": f"{start}-{end - 1}"}
        began = time.monotonic()
        self._is_sure = False  # until it answers: any part of the piece may have arrived
        answer = self._patch(Piece(self.key, self._path, start, end, self._location, headers), tell)
        if answer.status == 416:
            raise Passing("it lost count of what arrived")
        if answer.status in GONE:
            raise Stale
        self._piece.took(end - start, time.monotonic() - began)
        self._take(answer, self._location)
        self._offset = self._stored(answer, end)
        self._is_sure = True
        if self._offset <= start:
            raise Passing("it keeps nothing of what it is sent")

    def _patch(self, piece: Piece, tell: Tell) -> Answer:
        held = self._second.held_back(self._size, piece) if self._second else None
        try:
            return self._session.ask("PATCH", piece.url, (202, 204, *GONE), self._slice(piece.start, piece.end, tell), piece.headers)
        except TooLarge:
            if not self._piece.is_too_large():
                raise
            raise Passing("pieces are too large for it", 0) from None
        except Passing as exc:
            if held and exc.is_cut:
                self.sent += piece.end - piece.start
                return held.send()
            self._piece.was_cut()
            raise
        except Left:
            if held:
                with suppress(Passing, PublishError):  # for the next attempt; it takes as long as one piece does
                    self._take(held.send(), piece.url)
            raise
        except RegistryDenied:
            if self._session.is_ours(self._location):
                raise
            raise Stale from None  # a store's permission for this upload has ended
        finally:
            if held:
                held.drop()

    def _finish(self, body: Callable[[], Iterator[bytes]] | None = None) -> None:
        url = f"{self._location}{'&' if '?' in self._location else '?'}digest={self._digest}"
        headers = {"Content-Length": str(self._size if body else 0), "Content-Type": "application/octet-stream"}
        try:
            answer = self._session.ask("PUT", url, (201, 204, *GONE), body, headers)
        except Passing:
            if self.is_there():  # only its answer was lost
                return
            raise
        if answer.status not in GONE or self.is_there():
            return
        if b"DIGEST_INVALID" in answer.content and self._is_pure:
            self._forget()
            raise PublishError(
                f"The registry got other bytes than those of {self._digest[:19]}.",
                "The layout's file may be damaged: `edge package` the build again.",
            )
        raise Stale
