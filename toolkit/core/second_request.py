"""A piece that is asked for twice, so that a cut inside it does not cost the whole layer.

Docker's registry (2.8 and 3, with its files on a disk) names an upload by a signed place that says how many bytes it has. A piece that is
cut leaves more bytes than that, and no request is let in any more, ever: the layer begins anew. But a request that was let in before
the piece's first byte came writes where the piece begins. So two are made on two connections, and one holds its content
back until the other one has failed. What the blob holds in the end is proven by its digest.

The second one is made by another process (`push_keeper`), which outlives us: so it helps behind a gateway that ends requests, and when
we are killed. It does not when the whole machine, or its line, is gone for longer than connections last.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core.registry_session import Answer, Body, Passing, Session
from toolkit.errors import PublishError

LEAST = 256 << 20
"""A smaller blob is sent again without such ado."""
REHEARSED = 64 << 10
SECONDS = 5
"""For each step of the rehearsal; one that takes longer is no sign that it works."""
LOST = (400, 404, 410, 416)


class HeldBack:
    """A request whose head has gone out, and whose content waits."""

    def __init__(self, session: Session, url: str, headers: Mapping[str, str], body: Body) -> None:
        self._session, self.url, self._headers, self._content = session, url, headers, body
        self._head_is_out, self._decided = threading.Event(), threading.Event()
        self._is_wanted = False
        self._answer: Answer | None = None
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._ask, name="push-held", daemon=True)
        self._thread.start()
        self._head_is_out.wait(SECONDS)

    def send(self) -> Answer:
        """Let the content go.

        Raises:
            Passing, PublishError: this one did not do either.
        """
        self._is_wanted = True
        self._decided.set()
        self._thread.join()
        if self._answer is None:
            raise self._problem or Passing("the connection was cut")
        return self._answer

    def drop(self) -> None:
        """It is not needed; its connection ends."""
        self._decided.set()

    def _ask(self) -> None:
        try:
            self._answer = self._session.ask("PATCH", self.url, (202, 204), self._body, self._headers)
        except BaseException as exc:  # told to who sends it
            self._problem = exc
        self._head_is_out.set()

    def _body(self) -> Iterator[bytes]:
        self._head_is_out.set()
        self._decided.wait()
        if not self._is_wanted:
            raise Passing("it was not needed")
        yield from self._content()


@dataclass(frozen=True)
class Piece:
    """Of a blob, on its way to a place."""

    key: str
    """Of its upload."""
    file: Path
    start: int
    end: int
    url: str = field(repr=False)
    headers: Mapping[str, str]


class Held:
    """A request that the keeper holds back."""

    def __init__(self, requests: SecondRequests, number: int) -> None:
        self._requests, self._number, self._is_over = requests, number, False

    def send(self) -> Answer:
        """Let the content go.

        Raises:
            Passing: this one did not do either.
        """
        self._is_over = True
        answer = self._requests.tell(self._number, "send")
        if not answer or "status" not in answer:
            raise Passing("the connection was cut")
        return Answer(answer["status"], {"location": answer["location"], "range": answer["range"]}, b"")

    def drop(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._requests.tell(self._number, "drop")


class SecondRequests:
    """Second requests for the pieces of one push, in registries where they help: that is found out once, with an upload of few bytes."""

    def __init__(self, session: Session, folder: Path, least: int = LEAST, seconds: float = SECONDS) -> None:
        """`folder`: where it is remembered how far uploads are."""
        self._session, self._folder, self._least, self._seconds = session, folder, least, seconds
        self._rehearsing, self._helps = threading.Lock(), None
        self._talking, self._numbers = threading.Lock(), itertools.count()
        self._keeper: subprocess.Popen[str] | None = None

    def close(self) -> None:
        """Nothing is held back any more; the keeper ends."""
        if self._keeper:
            with suppress(OSError):
                self._keeper.stdin.close()
            self._keeper.stdout.close()
            self._keeper.wait()

    def held_back(self, size: int, piece: Piece) -> Held | None:
        """For a piece of a blob of `size`; None where it would not help."""
        if size < self._least or not self._is_of_use():
            return None
        number = next(self._numbers)
        asked = {"target": str(self._session.reference), "way_in": self._session.way_in, **vars(piece), "file": str(piece.file)}
        if self.tell(number, "hold", **asked) is None:
            return None
        held = Held(self, number)
        try:
            self._session.ask("GET", piece.url, (202, 204))  # comes after the head of the one, and so does what follows
        except (Passing, PublishError):
            held.drop()
            return None
        return held

    def tell(self, number: int, what: str, **more: object) -> dict | None:
        """Tell the keeper; its answer, or None where it is gone."""
        with self._talking, suppress(OSError, ValueError):
            if self._keeper is None:
                self._keeper = _keeper(self._folder)
            self._keeper.stdin.write(json.dumps({"id": number, "do": what, **more}) + "\n")
            self._keeper.stdin.flush()
            if what != "drop":
                return json.loads(self._keeper.stdout.readline())
        return None

    def _is_of_use(self) -> bool:
        with self._rehearsing:
            if self._helps is None:
                try:
                    self._helps = self._rehearse()
                except (Passing, PublishError):
                    self._helps = False
            return bool(self._helps)

    def _rehearse(self) -> bool:
        """Cut an upload inside a piece; where that loses it, the request that was held back must save it."""
        start = self._session.url("blobs/uploads/")
        place = self._placed(self._ask("POST", start, (202,)), start)
        place = self._placed(self._ask("PATCH", place, (202, 204), *_zeros(0)), place)
        body, headers = _zeros(REHEARSED)
        held = HeldBack(self._session, place, headers, body)
        try:
            self._ask("GET", place, (202, 204))
            self._cut(place, headers)
            if not self._is_lost(place):
                return False
            answer = held.send()
            place = self._placed(answer, place)
            return answer.headers.get("range", "").endswith(f"0-{2 * REHEARSED - 1}")
        finally:
            held.drop()
            self._cancel(place)

    def _ask(self, method: str, url: str, expected: tuple[int, ...], body: Body | None = None, headers: Mapping | None = None) -> Answer:
        return self._session.ask(method, url, expected, body, headers, self._seconds)

    def _placed(self, answer: Answer, asked: str) -> str:
        return self._session.url(answer.headers.get("location", asked), asked)

    def _cut(self, place: str, headers: Mapping[str, str]) -> None:
        def half() -> Iterator[bytes]:
            yield bytes(REHEARSED // 2)
            raise Passing("as was meant")

        try:
            self._ask("PATCH", place, (), half, headers)
        except (Passing, PublishError):
            return

    def _is_lost(self, place: str) -> bool:
        """A registry takes a moment to see a cut."""
        until = time.monotonic() + min(1.0, self._seconds)
        while time.monotonic() < until:
            if self._ask("GET", place, (202, 204, *LOST)).status in LOST:
                return True
            time.sleep(0.1)
        return False

    def _cancel(self, place: str) -> None:
        try:
            self._ask("DELETE", place, (200, 202, 204))
        except (Passing, PublishError):
            return  # the registry clears it away some day


def _keeper(folder: Path) -> subprocess.Popen[str]:
    """In a session of its own, so that what ends us does not end it. It gets no secrets but those of its requests, through the pipe."""
    argv = [sys.executable, "-m", "toolkit.core.push_keeper", str(folder)]
    environ = {name: value for name, value in os.environ.items() if "PASSWORD" not in name and "SECRET" not in name}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(argv, env=environ, text=True, start_new_session=True, **pipes)


def _zeros(start: int) -> tuple[Callable[[], Iterator[bytes]], dict[str, str]]:
    size = {"Content-Length": str(REHEARSED), "Content-Range": f"{start}-{start + REHEARSED - 1}"}
    return lambda: iter([bytes(REHEARSED)]), {"Content-Type": "application/octet-stream", **size}
