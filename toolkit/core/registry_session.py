"""Writing to a registry over HTTP: signed in, patient with one that is busy, and soon at an end with one that refuses."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from toolkit.core.reference import Reference
from toolkit.core.registry_access import Access, LetIn, let_in, way_out
from toolkit.errors import PublishError, RegistryDenied

T = TypeVar("T")
BUSY = (408, 429, 500, 502, 503, 504)
FULL = (413, 507)
ELSEWHERE = (302, 303, 307)
"""Answers to who asks for a blob: it is there, and lies at a store."""
TRY_AGAIN = "When it is back, `edge resume` goes on with the run: what arrived does not move again."
NEVER_SEEN = "Check its name and the network. If it is only away, `edge resume` goes on with the run once it is back."
SAID_BYTES = 64 << 10
"""So much of an answer's content is read."""
CONNECT_SECONDS, SEND_SECONDS, READ_SECONDS = 15, 180, 300
"""A network that is gone for less than this costs nothing: the kernel sends again. A registry reads a large blob once more before it answers."""
SIGN_INS = 2
"""A pair that a cloud gave us may have to be got anew before it does."""
Body = Callable[[], Iterable[bytes]]
"""Begins a request's content anew, for a request may be sent twice."""


@dataclass(frozen=True)
class Patience:
    """How often something that may pass is tried, and how long is waited in between."""

    tries: int = 6
    first_seconds: float = 0.5
    most_seconds: float = 30
    most_asked_seconds: float = 120
    """A registry that asks for a longer wait is taken as one that does not answer."""

    def seconds(self, failures: int, asked: float | None) -> float:
        """Before the next try: what the registry asks for, else twice as long each time, by chance somewhat less."""
        if asked is not None:
            return asked
        return min(self.most_seconds, self.first_seconds * 2 ** (failures - 1)) * random.uniform(0.5, 1)


class Passing(Exception):
    """What may pass: a cut, no answer in time, a busy registry. Never shown; `why` holds no location."""

    def __init__(self, why: str, asked: float | None = None, is_cut: bool = False) -> None:
        super().__init__(why)
        self.why, self.asked, self.is_cut = why, asked, is_cut


class TooLarge(PublishError):
    """The request is too large, for the registry or for something before it."""


@dataclass(frozen=True)
class Answer:
    """What a registry said."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    """The beginning of it."""
    url: str = field(default="", repr=False)
    """What answered, where we were sent on."""


class Session:
    """Requests about one repository, from several threads. `sources` are repositories that blobs may be taken over from."""

    def __init__(
        self,
        reference: Reference,
        access: Access,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        sources: Collection[str] = (),
    ) -> None:
        import httpx  # takes as long to load as the whole first screen

        keep_quiet()
        self.reference, self.patience = reference, patience or Patience()
        self._access, self._sleep = access, sleep
        self._client = httpx.Client(timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, write=SEND_SECONDS, pool=None))
        self._base = f"{'http' if reference.is_loopback else 'https'}://{reference.host}/v2/{reference.repository}/"
        self._scopes = [f"repository:{reference.repository}:pull,push", *(f"repository:{source}:pull" for source in sorted(sources))]
        self._let_in, self._wanted = LetIn(""), ""
        self._signing_in = threading.Lock()
        self._has_answered = False

    def close(self) -> None:
        self._client.close()

    def url(self, path: str, beside: str = "") -> str:
        """Of a path of the repository, or of a location that an answer to `beside` named."""
        url = urljoin(beside or self._base, path)
        if not self.reference.is_loopback and not url.startswith("https://"):
            raise PublishError(f"The registry {self.reference.host} wants the image sent in the clear.", "Use a registry with TLS.")
        return url

    @property
    def way_in(self) -> str:
        """The header that lets us in now; empty before we were asked for one."""
        return self._let_in.header

    def comes_in_with(self, way: LetIn) -> None:
        self._let_in = way

    def is_ours(self, url: str) -> bool:
        """An address of the registry itself."""
        return urlsplit(url).netloc == self.reference.host

    def patiently(self, once: Callable[[], T]) -> T:
        """Do what may fail for a while, several times.

        Raises:
            PublishError: it did not pass.
        """
        failures = 0
        while True:
            try:
                return once()
            except Passing as exc:
                failures += 1
                if failures >= self.patience.tries or (exc.asked or 0) > self.patience.most_asked_seconds:
                    raise self._gone(exc) from None
                self._sleep(self.patience.seconds(failures, exc.asked))

    def _gone(self, exc: Passing) -> PublishError:
        """A name that was mistyped looks like a registry that never answered."""
        if exc.is_cut and not self._has_answered:
            return PublishError(f"The registry {self.reference.host} cannot be reached: {exc.why}.", NEVER_SEEN)
        return PublishError(f"The registry {self.reference.host} went away: {exc.why}.", TRY_AGAIN)

    def ask(
        self,
        method: str,
        url: str,
        expected: Collection[int],
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """One request, signed in anew where the registry forgot us; an answer that is not `expected` is an error.

        `seconds`: wait no longer for it.

        Raises:
            Passing: it may work later.
            RegistryDenied: it does not let us in.
            PublishError: it refuses.
        """
        # What lies elsewhere, such as an upload at a store, has its own way in: it never sees ours, and asks us for nothing.
        is_ours = self.is_ours(url)
        used = self._current() if is_ours else LetIn("")
        answer = self._send(method, url, body, headers or {}, used, seconds)
        for _ in range(SIGN_INS):
            if answer.status != 401 or not is_ours or (used.is_pair and not callable(self._access)):
                break
            used = self._sign_in(answer.headers.get("www-authenticate", ""), used)
            answer = self._send(method, url, body, headers or {}, used, seconds)
            if not used.is_pair:
                break
        if answer.status in expected:
            return answer
        raise self._problem(answer, has_token=bool(used.header) and not used.is_pair)

    def _current(self) -> LetIn:
        """What we come in with; renewed before its end, so that a large piece is not sent for nothing."""
        used = self._let_in
        return self._sign_in(self._wanted, used) if used.is_ending else used

    def _send(
        self, method: str, url: str, body: Body | None, headers: Mapping[str, str], used: LetIn, seconds: float | None = None
    ) -> Answer:
        import httpx

        own = {"Authorization": used.header} if used.header else {}
        timeout = httpx.Timeout(seconds) if seconds else self._client.timeout
        content = body() if body else None
        try:
            with self._client.stream(method, url, content=content, headers={**headers, **own}, timeout=timeout) as answer:
                self._has_answered = True
                return Answer(answer.status_code, answer.headers, beginning(answer.iter_bytes()) if method != "HEAD" else b"")
        except httpx.InvalidURL:
            raise PublishError(f"What answers at {self.reference.host} is no registry.", "Check the host and its port.") from None
        except (httpx.HTTPError, httpx.StreamError) as exc:
            raise Passing(why(exc), is_cut=True) from None

    def _sign_in(self, wanted: str, used: LetIn) -> LetIn:
        """Once for all threads: one that finds another has signed in meanwhile takes that."""
        import httpx

        with self._signing_in:
            if self._let_in is used:
                try:
                    self._let_in = let_in(self._client, wanted, self.reference, self._access, self._scopes, bool(used.header))
                except httpx.InvalidURL:
                    raise PublishError(f"The registry {self.reference.host} names no way in.", "Check the host and its port.") from None
                except httpx.HTTPError as exc:
                    raise Passing(why(exc)) from None
                self._wanted = wanted
            return self._let_in

    def _problem(self, answer: Answer, has_token: bool) -> Exception:
        status, said = answer.status, _said(answer)
        is_full = "no space left" in said.lower() or ("quota" in said.lower() and status != 429)  # of requests, then
        if status in FULL or is_full:
            kind = TooLarge if status == 413 else PublishError
            return kind(f"The registry has no room for {self.reference}: {said}.", "Remove old images there, or ask its keeper.")
        if status in BUSY:
            return Passing(f"it answered {status}", _asked_seconds(answer.headers.get("retry-after", "")))
        if status == 401 and not has_token:
            return RegistryDenied(f"The registry refused the credentials for {self.reference}.", way_out(self._access))
        if status in (401, 403) or "DENIED" in said:  # a token that does not do: it is known who we are
            return RegistryDenied(
                f"The registry does not let you push to {self.reference.host}/{self.reference.repository}: {said}.",
                "Check the repository's name, and your rights on it (AcrPush, write).",
            )
        return PublishError(f"The registry did not take {self.reference}: {said}.", "Check the repository's name and your rights on it.")


def keep_quiet() -> None:
    """The client prints every address it asks, and locations hold tokens: not to a log, however that is set up."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def beginning(chunks: Iterable[bytes], most: int = SAID_BYTES) -> bytes:
    """Of an answer's content, whatever its sender thinks of us."""
    read = bytearray()
    for chunk in chunks:
        read += chunk
        if len(read) >= most:
            break
    return bytes(read[:most])


def why(exc: Exception) -> str:
    """In words, without what was asked."""
    kind = type(exc).__name__
    if kind == "ConnectError":
        return f"nobody answers there ({exc})"
    return "it did not answer in time" if "Timeout" in kind else "the connection was cut"


def _said(answer: Answer) -> str:
    """The registry's own first words, if it said any; never a location."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        error = json.loads(answer.content)["errors"][0]
        detail = error.get("detail")
        more = json.dumps(detail) if "no space left" in str(detail).lower() else ""
        return f"{answer.status} {error.get('code', '')} {error.get('message', '')} {more}".strip()[:300].rstrip(".")
    return f"it answered {answer.status}"


def _asked_seconds(header: str) -> float | None:
    """What `Retry-After` says: seconds, or a date."""
    if header.strip().isdigit():
        return float(header)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None
