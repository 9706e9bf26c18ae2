"""A container of a storage account: asked patiently, with a way in that is fetched anew where it has expired.

The storage client's own patience does not serve here: it waits 15 s before its first retry, never tries again after 429, and
does not hear `Retry-After`. What it says of a broken connection holds the whole URL, and with it the SAS: it is never repeated.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

from toolkit.errors import CloudError, RightsMissing, SignInError, ToolkitError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

T = TypeVar("T")
BUSY = (408, 429, 500, 502, 503, 504)
STALE = ("AuthenticationFailed", "InvalidAuthenticationInfo", "ExpiredAuthenticationToken", "InvalidAuthenticationToken")
"""What the storage says of a signature or a token that has expired, among others."""
NOT_LET_IN = "AuthorizationFailure"
"""By its network rules; some say it of an expired SAS too."""
NO_KEYS = "KeyBasedAuthenticationNotPermitted"
CONTRIBUTOR, READER = "Storage Blob Data Contributor", "Storage Blob Data Reader"
TRY_AGAIN = "Check the network, then `edge resume` the run: what arrived stays there."
FETCH_AGAIN = "Check the network, then try again: what arrived here stays."
MOST_SKEW = 600
"""Seconds; a storage refuses what was signed by a clock that is a quarter of an hour off."""
CONNECT_SECONDS, READ_SECONDS = 20, 60


class Stopped(Exception):
    """Somebody else failed, or a person left: this work is not wanted any more."""


@dataclass(frozen=True)
class Patience:
    """How long a storage that is busy or gone is tried again, anew with each piece that arrives."""

    tries: int = 8
    first_seconds: float = 0.5
    most_seconds: float = 16
    most_asked_seconds: float = 120
    """A storage that asks for more is told to a person instead."""

    def seconds(self, failures: int, asked: float | None) -> float:
        if asked is not None:
            return asked
        return min(self.most_seconds, self.first_seconds * 2 ** (failures - 1)) * random.uniform(0.75, 1.25)


@dataclass(frozen=True)
class Access:
    """A way into a container."""

    account: str
    """`https://ACCOUNT.blob.core.windows.net`."""
    container: str
    secret: Any = field(repr=False)
    """A SAS or an account key; None: the sign-in opens it."""
    kind: str = "identity"
    """sas, key or identity."""
    source: str = ""
    """What gave it, as people call it: `datastore workspaceblobstore`."""

    @property
    def host(self) -> str:
        return self.account.partition("://")[2]

    def renew_at(self, now: float) -> float:
        """When a SAS should be replaced, a little before it expires; never where its end is not told, or this clock is off."""
        with suppress(ValueError, LookupError, TypeError):
            if self.kind == "sas":
                ends = datetime.fromisoformat(parse_qs(self.secret)["se"][0].replace("Z", "+00:00")).timestamp()
                return ends - min(300, (ends - now) / 10) if ends > now else float("inf")
        return float("inf")


class BlobStore:
    """One container, for several threads."""

    def __init__(self, get_access: Callable[[], Access], credential: Any, patience: Patience | None = None, reads: bool = False) -> None:
        """`get_access` gives a new way in each time; `credential` is the sign-in, for a storage that wants it.

        With `reads` nothing will be written: errors are worded for that.
        """
        self._reads = reads
        self._get_access, self._credential = get_access, credential
        self.patience = patience or Patience()
        self.stop = threading.Event()
        """Set: whoever waits or sends leaves with Stopped."""
        self._renewing = threading.Lock()
        self._by_sign_in = False
        self._clients: list[ContainerClient] = []
        self.access = self._take(get_access())

    def _take(self, access: Access) -> Access:
        from azure.core.credentials import AzureSasCredential
        from azure.storage.blob import ContainerClient

        ways = {"sas": lambda: AzureSasCredential(access.secret), "key": lambda: access.secret}
        by_secret = access.kind in ways and not self._by_sign_in
        client = ContainerClient(
            access.account,
            access.container,
            credential=ways[access.kind]() if by_secret else self._credential,
            transport=_rewinding_transport(),
            retry_total=0,  # `ask` tries again
            max_single_get_size=4 << 20,
        )
        self._clients.append(client)
        self._renew_at = access.renew_at(time.time()) if by_secret else float("inf")
        return access

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def ask(self, once: Callable[[ContainerClient], T]) -> T:
        """Do something with the container; again where it is busy or gone, with a new way in where that has expired.

        Raises:
            RightsMissing: it refuses.
            CloudError: it stays away, or answers what cannot be used.
            Stopped: it is not wanted any more.
        """
        from azure.core.exceptions import (
            AzureError,
            DeserializationError,
            HttpResponseError,
            ResourceModifiedError,
            ResourceNotFoundError,
        )

        failures, renewed = 0, False
        while True:
            used = self._client()
            try:
                return once(used)
            except (ResourceNotFoundError, ResourceModifiedError):
                raise  # an answer, for whoever asked
            except AzureError as exc:
                if not renewed and self._can_renew(exc):
                    renewed = True
                    self._renew(used)
                    continue
                asked = _asked_seconds(exc)
                passes = not isinstance(exc, HttpResponseError) or exc.status_code in BUSY
                failures += 1
                if not passes or failures >= self.patience.tries or (asked or 0) > self.patience.most_asked_seconds:
                    raise self._told(exc, passes) from None
                self.wait(self.patience.seconds(failures, asked))
            except (AttributeError, TypeError, DeserializationError):  # the client trips over what no storage says
                raise self._no_storage() from None

    def _no_storage(self) -> ToolkitError:
        hint = "Check the datastore's account, and the proxy if there is one."
        return CloudError(f"What answers as the storage {self.access.host} is no storage.", hint)

    def wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped

    def _client(self) -> ContainerClient:
        if self.stop.is_set():
            raise Stopped
        client = self._clients[-1]
        if time.time() >= self._renew_at:
            self._renew(client)
        return self._clients[-1]

    def _can_renew(self, exc: Any) -> bool:
        code = _code(exc)
        if code == NO_KEYS and not self._by_sign_in:
            self._by_sign_in = True
            return True
        may_be_over = code in STALE or not code or (code == NOT_LET_IN and self.access.kind == "sas")
        return getattr(exc, "status_code", 0) in (401, 403) and may_be_over

    def _renew(self, used: ContainerClient) -> None:
        """Once for all threads: one that finds another has done it meanwhile takes that."""
        with self._renewing:
            if self._clients[-1] is used:
                self.access = self._take(self._get_access())

    def _told(self, exc: Any, passes: bool) -> ToolkitError:
        """The storage's error as ours."""
        from azure.core.exceptions import HttpResponseError

        where, code = f"the storage {self.access.host}", _code(exc)
        again = FETCH_AGAIN if self._reads else TRY_AGAIN
        if not isinstance(exc, HttpResponseError):
            return CloudError(f"{where[0].upper()}{where[1:]} cannot be reached: {_cause(exc)}.", again)
        status = exc.status_code
        if passes:
            return CloudError(f"{where[0].upper()}{where[1:]} is busy: it answered {status} {code}".rstrip() + ".", again)
        if status is None:
            return SignInError(f"Azure gave no token for {where}: {_first_line(exc)}", "`edge login` signs in anew.")
        if status in (401, 403):
            return self._refused(where, status, code, _clock(exc))
        if status < 400:
            return self._no_storage()
        return CloudError(
            f"{where[0].upper()}{where[1:]} refused: {status} {code or _first_line(exc)}.", "Check the workspace's datastore."
        )

    def _refused(self, where: str, status: int, code: str, clock: str) -> RightsMissing:
        said = f"({status} {code})".replace(" )", ")")
        if clock:
            return RightsMissing(
                f"The sign-in to {where} was refused {said}, and {clock}.", "Correct the clock: `timedatectl set-ntp true`."
            )
        network = " If that does not help, ask for this machine's network to be let in." if code == NOT_LET_IN else ""
        if self.access.kind == "identity" or self._by_sign_in:
            hint = f"Ask its owner for the role {READER if self._reads else CONTRIBUTOR} on that storage account.{network}"
            return RightsMissing(f"You may not {'read' if self._reads else 'write to'} {where} {said}.", hint)
        kind = "SAS" if self.access.kind == "sas" else "key"
        return RightsMissing(
            f"The {kind} of {self.access.source or 'the store'} does not open {where} {said}.",
            f"Ask the workspace's owner to renew the datastore's credentials, with the rights to {'read and list' if self._reads else 'read, write and list'}.{network}",
        )


def _clock(exc: Any) -> str:
    """That this machine's clock differs from the storage's by more than it allows for; empty where it does not."""
    headers = getattr(getattr(exc, "response", None), "headers", None) or {}
    with suppress(ValueError, TypeError):
        ahead = time.time() - parsedate_to_datetime(headers.get("Date", "")).timestamp()
        if abs(ahead) > MOST_SKEW:
            return f"this machine's clock is {abs(ahead) / 60:.0f} minutes {'ahead' if ahead > 0 else 'behind'}"
    return ""


def _rewinding_transport() -> Any:
    """Sends each body from its beginning. After a token that was refused the client sends the same request again from where the
    body stood, that is at its end, and then waits a minute for an answer.
    """
    from azure.core.pipeline.transport import RequestsTransport

    class Rewinding(RequestsTransport):
        def send(self, request: Any, **more: Any) -> Any:
            if hasattr(request.body, "seek"):
                request.body.seek(0)
            return super().send(request, **more)

    return Rewinding(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)


def _code(exc: Any) -> str:
    """What the storage calls the error."""
    code = getattr(exc, "error_code", "") or ""
    return str(getattr(code, "value", code))


def _asked_seconds(exc: Any) -> float | None:
    """What `Retry-After` says: seconds, or a date."""
    response = getattr(exc, "response", None)
    header = str(response.headers.get("retry-after") or "") if response is not None else ""
    if header.strip().isdigit():
        return float(header)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None


def _cause(exc: BaseException) -> str:
    """What broke a connection, by its kind alone: the words hold the URL."""
    inner: Any = exc
    for _ in range(6):
        following = getattr(inner, "inner_exception", None) or inner.__cause__ or inner.__context__
        if following is None or following is inner:
            break
        inner = following
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(inner).__name__).lower().removesuffix(" error")


def _first_line(exc: BaseException) -> str:
    line = re.sub(r"^\(\w+\) ", "", str(exc).partition("\n")[0])
    return re.sub(r"(sig|signature)=[^&\s]+", r"\1=…", line)[:300]
