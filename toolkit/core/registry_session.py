"""Writing to a registry over HTTP: signed in, patient with one that is busy, and soon at an end with one that refuses."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from toolkit.core.engine import Credentials
from toolkit.core.reference import Reference
from toolkit.core.registry_access import PASSWORD_HINT, authorization
from toolkit.errors import PublishError, RegistryDenied

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
BUSY = (429, 500, 502, 503, 504)
FULL = (413, 507)
TRY_AGAIN = "When it is back, `edge resume` goes on with the run: what arrived does not move again."


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

    def __init__(self, why: str, asked: float | None = None) -> None:
        super().__init__(why)
        self.why, self.asked = why, asked


class Session:
    """Requests about one repository, from several threads."""

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials | None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx  # takes as long to load as the whole first screen

        self.reference, self.patience = reference, patience or Patience()
        self._credentials, self._sleep = credentials, sleep
        self._client = httpx.Client(timeout=httpx.Timeout(60, connect=15))
        self._base = f"{'http' if reference.is_loopback else 'https'}://{reference.host}/v2/{reference.repository}/"
        self._signed_in = ""
        self._signing_in = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def url(self, path: str, beside: str = "") -> str:
        """Of a path of the repository, or of a location that an answer to `beside` named."""
        url = urljoin(beside or self._base, path)
        if not self.reference.is_loopback and not url.startswith("https://"):
            raise PublishError(f"The registry {self.reference.host} wants the image sent in the clear.", "Use a registry with TLS.")
        return url

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
                    raise PublishError(f"The registry {self.reference.host} went away: {exc.why}.", TRY_AGAIN) from None
                self._sleep(self.patience.seconds(failures, exc.asked))

    def ask(
        self, method: str, url: str, expected: Collection[int], content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request, signed in anew where the registry forgot us; an answer that is not `expected` is an error.

        Raises:
            Passing: it may work later.
            RegistryDenied: it does not let us in.
            PublishError: it refuses.
        """
        used = self._signed_in
        answer = self._send(method, url, content, headers or {}, used)
        if answer.status_code == 401:
            self._sign_in(answer, used)
            answer = self._send(method, url, content, headers or {}, self._signed_in)
        if answer.status_code in expected:
            return answer
        raise self._problem(answer)

    def _send(self, method: str, url: str, content: bytes, headers: Mapping[str, str], signed_in: str) -> httpx.Response:
        import httpx

        # What lies elsewhere, such as an upload at a store, has its own way in: it never sees ours.
        is_ours = urlsplit(url).netloc == self.reference.host
        own = {"Authorization": signed_in} if signed_in and is_ours else {}
        try:
            return self._client.request(method, url, content=content or None, headers={**headers, **own})
        except httpx.InvalidURL:
            raise PublishError(f"What answers at {self.reference.host} is no registry.", "Check the host and its port.") from None
        except httpx.HTTPError as exc:
            raise Passing(type(exc).__name__) from None

    def _sign_in(self, answer: httpx.Response, used: str) -> None:
        """Once for all threads: one that finds another has signed in meanwhile takes that."""
        import httpx

        with self._signing_in:
            if self._signed_in != used:
                return
            wanted = answer.headers.get("www-authenticate", "")
            try:
                self._signed_in = authorization(self._client, wanted, self.reference, self._credentials, "pull,push")
            except httpx.InvalidURL as exc:
                raise PublishError(f"The registry {self.reference.host} names no way in.", "Check the host and its port.") from exc
            except httpx.HTTPError as exc:
                raise Passing(type(exc).__name__) from None

    def _problem(self, answer: httpx.Response) -> Exception:
        status, said = answer.status_code, _said(answer)
        if status in BUSY:
            return Passing(f"it answered {status}", _asked_seconds(answer.headers.get("retry-after", "")))
        if status in FULL or "quota" in said.lower() or "no space left" in said.lower():
            return PublishError(f"The registry has no room for {self.reference}: {said}", "Remove old images there, or ask its keeper.")
        if status == 401:
            return RegistryDenied(f"The registry refused the credentials for {self.reference}.", PASSWORD_HINT)
        if status == 403 or "DENIED" in said:
            return RegistryDenied(
                f"The registry does not let you push to {self.reference}: {said}",
                "Check the repository's name, and your rights on it (AcrPush, write).",
            )
        return PublishError(f"The registry did not take {self.reference}: {said}", "Check the repository's name and your rights on it.")


def _said(answer: httpx.Response) -> str:
    """The registry's own first words, if it said any; never a location."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        error = answer.json()["errors"][0]
        return f"{answer.status_code} {error.get('code', '')} {error.get('message', '')}".strip()[:300]
    return f"it answered {answer.status_code}"


def _asked_seconds(header: str) -> float | None:
    """What `Retry-After` says: seconds, or a date."""
    if header.strip().isdigit():
        return float(header)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None
