"""Signing in to a registry: what it asks for, and what a person or the environment gives. Nothing of it is ever written."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from toolkit.core.engine import Credentials
from toolkit.core.reference import Reference
from toolkit.errors import PublishError, RegistryDenied

if TYPE_CHECKING:
    import httpx

USERNAME_VARIABLE, PASSWORD_VARIABLE = "EDGE_REGISTRY_USERNAME", "EDGE_REGISTRY_PASSWORD"
PASSWORD_HINT = f"Give user and password (--username, --password-stdin), or set {USERNAME_VARIABLE} and {PASSWORD_VARIABLE}."


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


def authorization(client: httpx.Client, wanted: str, reference: Reference, credentials: Credentials | None, actions: str = "pull") -> str:
    """The header that answers a registry's `WWW-Authenticate`, for `actions` on the repository where it does not name its own.

    Raises:
        RegistryDenied: it wants credentials, or refused ours.
        PublishError: it asks for something we do not know, or for a password in the clear.
    """
    pair = (credentials.username, credentials.password) if credentials else None
    if wanted.lower().startswith("basic"):
        if pair is None:
            raise RegistryDenied(f"The registry {reference.host} wants a user name and a password.", PASSWORD_HINT)
        return "Basic " + base64.b64encode(":".join(pair).encode()).decode()
    fields = dict(re.findall(r'(\w+)="([^"]*)"', wanted))
    _check_realm(fields.get("realm", ""), wanted, reference)
    asked = {"service": fields.get("service", ""), "scope": _scope(fields.get("scope", ""), reference, actions)}
    answer = client.get(fields["realm"], params=asked, auth=pair)
    if answer.status_code != 200:
        raise RegistryDenied(f"The registry refused the credentials for {reference}.", PASSWORD_HINT)
    try:
        token = answer.json()
        return f"Bearer {token.get('access_token') or token['token']}"
    except (ValueError, KeyError, AttributeError) as exc:
        raise PublishError(f"The registry {reference.host} gave no token.", "Try again; if it stays, ask its keeper.") from exc


def _check_realm(realm: str, wanted: str, reference: Reference) -> None:
    if not realm:
        raise PublishError(
            f"The registry {reference.host} asks for a way in that we do not know: {wanted!r}.",
            "Use one with basic or token authentication.",
        )
    if not realm.startswith("https://") and not reference.is_loopback:
        raise PublishError(f"The registry {reference.host} wants the password sent in the clear, to {realm}.", "Use a registry with TLS.")


def _scope(asked: str, reference: Reference, actions: str) -> str:
    """For reading what the registry asked for, if it is about this repository only; to write, all that writing will need."""
    ours = f"repository:{reference.repository}:"
    return asked if actions == "pull" and asked.startswith(ours) and " " not in asked else f"{ours}{actions}"
