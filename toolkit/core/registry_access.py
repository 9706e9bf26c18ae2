"""Signing in to a registry: what it asks for, and what a person, the environment or a cloud gives. Nothing of it is ever written."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.core.cloud import RegistrySignIn
from toolkit.core.engine import Credentials
from toolkit.core.reference import Reference
from toolkit.errors import PublishError, RegistryDenied

if TYPE_CHECKING:
    import httpx

USERNAME_VARIABLE, PASSWORD_VARIABLE = "EDGE_REGISTRY_USERNAME", "EDGE_REGISTRY_PASSWORD"
PASSWORD_HINT = f"Give user and password (--username, --password-stdin), or set {USERNAME_VARIABLE} and {PASSWORD_VARIABLE}."
SIGN_IN_HINT = "Sign in with `edge login`, to the registry's own tenant, and ask for the role AcrPush on it."
TOKEN_SECONDS = 60
"""Life of a token that says nothing of it (distribution's token specification)."""
LEFT = 0.25
"""A token is renewed when less than this share of its life is left."""

Access = Credentials | RegistrySignIn | None
"""What a registry lets us in with: a pair, or what gives one whenever it is needed."""


@dataclass(frozen=True)
class LetIn:
    """A header that a registry lets us in with."""

    header: str = field(repr=False)
    good_until: float = float("inf")
    """By the clock that nobody sets."""

    @property
    def is_ending(self) -> bool:
        return time.monotonic() >= self.good_until

    @property
    def is_pair(self) -> bool:
        """User and password themselves, not a token that they were changed for."""
        return self.header.startswith("Basic ")


def chosen(username: str, password: str, environ: Mapping[str, str] = os.environ) -> Credentials | None:
    """What was typed, filled up from the environment; None without a user.

    Raises:
        RegistryDenied: a user without a password.
    """
    own = environ.get(USERNAME_VARIABLE, "")
    username = username or own
    if not username:
        return None
    password = password or environ.get(PASSWORD_VARIABLE, "")
    if not password:
        raise RegistryDenied(f"There is no password for {username}.", f"Type it, or set {PASSWORD_VARIABLE}.")
    return Credentials(username, password)


def from_environment(environ: Mapping[str, str] = os.environ) -> tuple[str, bool]:
    """The user that the environment names, and whether it holds a password."""
    return environ.get(USERNAME_VARIABLE, ""), bool(environ.get(PASSWORD_VARIABLE))


def as_secrets(credentials: Credentials | None) -> bytes:
    """What a host driver reads from its standard input."""
    return json.dumps({"username": credentials.username, "password": credentials.password}).encode() if credentials else b"{}"


def given(access: Access, is_refused: bool = False) -> Credentials | None:
    """The pair, got now where it has to be got."""
    return access(is_refused) if callable(access) else access


def way_out(access: Access) -> str:
    """Of one whom a registry refused."""
    return SIGN_IN_HINT if callable(access) else PASSWORD_HINT


def let_in(
    client: httpx.Client, wanted: str, reference: Reference, access: Access, scopes: Sequence[str] = (), is_refused: bool = False
) -> LetIn:
    """What answers a registry's `WWW-Authenticate`, for these scopes; to read the repository where none are given.

    `is_refused`: the answer was given before, and does not do any more.

    Raises:
        RegistryDenied: it wants credentials, or refused ours, those of a sign-in even when they were got anew.
        PublishError: it asks for something we do not know, or for a password in the clear.
    """
    is_basic = wanted.lower().startswith("basic")
    try:
        return _let_in(client, wanted, reference, given(access, is_refused and is_basic), scopes)
    except RegistryDenied:
        if not callable(access):
            raise
        try:
            return _let_in(client, wanted, reference, given(access, is_refused=True), scopes)
        except RegistryDenied as exc:
            raise RegistryDenied(exc.message, SIGN_IN_HINT) from None


def _let_in(client: httpx.Client, wanted: str, reference: Reference, credentials: Credentials | None, scopes: Sequence[str]) -> LetIn:
    pair = (credentials.username, credentials.password) if credentials else None
    if wanted.lower().startswith("basic"):
        if pair is None:
            raise RegistryDenied(f"The registry {reference.host} wants a user name and a password.", PASSWORD_HINT)
        return LetIn("Basic " + base64.b64encode(":".join(pair).encode()).decode())
    fields = dict(re.findall(r'(\w+)="([^"]*)"', wanted))
    _check_realm(fields.get("realm", ""), wanted, reference)
    asked = {"service": fields.get("service", ""), "scope": list(scopes) or [_readable(fields.get("scope", ""), reference)]}
    answer = client.get(fields["realm"], params=asked, auth=pair)
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        answer.raise_for_status()  # as a registry that cannot be reached: it may pass
    if answer.status_code != 200:
        raise RegistryDenied(f"The registry refused the credentials for {reference}.", PASSWORD_HINT)
    try:
        token = answer.json()
        life = float(token.get("expires_in") or TOKEN_SECONDS)
        return LetIn(f"Bearer {token.get('access_token') or token['token']}", time.monotonic() + life * (1 - LEFT))
    except (ValueError, KeyError, AttributeError, TypeError) as exc:
        raise PublishError(f"The registry {reference.host} gave no token.", "Try again; if it stays, ask its keeper.") from exc


def _check_realm(realm: str, wanted: str, reference: Reference) -> None:
    if not realm:
        raise PublishError(
            f"The registry {reference.host} asks for a way in that we do not know: {wanted[:200]!r}.",
            "Use one with basic or token authentication.",
        )
    if not realm.startswith("https://") and not reference.is_loopback:
        raise PublishError(f"The registry {reference.host} wants the password sent in the clear, to {realm}.", "Use a registry with TLS.")


def _readable(asked: str, reference: Reference) -> str:
    """What the registry asked for, if it is about this repository only."""
    ours = f"repository:{reference.repository}:"
    return asked if asked.startswith(ours) and " " not in asked else f"{ours}pull"
