"""Holds requests back for a push, and lets them go when the push is killed: `python -m toolkit.core.push_keeper FOLDER`.

It is told of pieces through its standard input, a line each, and has nothing to do as long as all goes well. When the input ends
while a request is held back, whoever pushed is gone, in the middle of that piece: it is sent from here, and where the next one goes is
remembered in the run's folder, for the next attempt. Then this ends too.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit.core import reference
from toolkit.core.registry_access import LetIn
from toolkit.core.registry_session import Passing, Session
from toolkit.core.second_request import HeldBack
from toolkit.core.uploads import REMEMBERED_FILE, Uploads
from toolkit.errors import PublishError

LOCK = ".uploads.lock"
"""In the run's folder; held as long as the keeper lives."""
READ = 256 << 10
WAIT_SECONDS = 60
"""A piece is sent in a few seconds; what takes longer is not waited for."""


@dataclass
class _Held:
    request: HeldBack
    session: Session
    key: str


class Keeper:
    def __init__(self, folder: Path, out: IO[str]) -> None:
        self._folder, self._out = folder, out
        self._held: dict[int, _Held] = {}

    def hears(self, said: Mapping) -> None:
        number = said["id"]
        if said["do"] == "hold":
            self._held[number] = self._hold(said)
            return self._says(number)
        held = self._held.pop(number)
        if said["do"] == "drop":
            held.request.drop()
        else:
            self._says(number, **_sent(held))
        held.session.close()

    def is_alone(self) -> None:
        """Whoever pushed is gone."""
        uploads = Uploads(self._folder / REMEMBERED_FILE)
        for held in self._held.values():
            if location := _sent(held).get("location"):
                uploads.remember(held.key, location)

    def _hold(self, said: Mapping) -> _Held:
        session = Session(reference.parse(said["target"]), None)
        session.comes_in_with(LetIn(said["way_in"]))
        path, start, end = Path(said["file"]), said["start"], said["end"]
        return _Held(HeldBack(session, said["url"], said["headers"], lambda: read_slice(path, start, end)), session, said["key"])

    def _says(self, number: int, **words: object) -> None:
        self._out.write(json.dumps({"id": number, **words}) + "\n")
        self._out.flush()


def _sent(held: _Held) -> dict[str, object]:
    """What the registry answered to the piece, as far as it matters; nothing where it failed."""
    with suppress(Passing, PublishError, OSError):
        answer = held.request.send()
        location = held.session.url(answer.headers.get("location", ""), held.request.url)
        return {"status": answer.status, "location": location, "range": answer.headers.get("range", "")}
    return {}


def read_slice(path: Path, start: int, end: int) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as blob:
        blob.seek(start)
        while start < end and (part := blob.read(min(READ, end - start))):
            start += len(part)
            yield part


def remembered(folder: Path, others: Iterable[Path] = ()) -> Uploads:
    """Uploads that this run began, or that runs in `others` did and nobody goes on with."""
    for one in [folder, *others]:
        _wait_for_keeper(one)
    return Uploads(folder / REMEMBERED_FILE, [one / REMEMBERED_FILE for one in others])


def _wait_for_keeper(folder: Path) -> None:
    """Of an earlier attempt that was killed a moment ago."""
    until = time.monotonic() + WAIT_SECONDS
    with suppress(OSError), open(folder / LOCK) as lock:
        while time.monotonic() < until:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)


def main() -> None:
    folder = Path(sys.argv[1])
    with open(folder / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keeper = Keeper(folder, os.fdopen(os.dup(1), "w"))
        for line in sys.stdin:
            keeper.hears(json.loads(line))
        keeper.is_alone()


if __name__ == "__main__":
    main()
