"""Registry credentials: from standard input, the environment, or a prompt. Kept in memory, handed on through a pipe."""

from __future__ import annotations

import os
import sys

import click

from toolkit.core.engine import Credentials
from toolkit.core.registry_access import PASSWORD_VARIABLE, USERNAME_VARIABLE, as_secrets
from toolkit.errors import RegistryDenied


def registry_secrets(target: str, username: str, password_stdin: bool) -> bytes:
    """What the host driver reads from its standard input.

    Raises:
        RegistryDenied: a user without a password, and nobody to ask.
    """
    return as_secrets(target_credentials(target, username, password_stdin))


def target_credentials(target: str, username: str, password_stdin: bool) -> Credentials | None:
    """Whom the registry of a target lets in; a cloud's registry is opened by our sign-in, unless a user is named here or in the environment.

    Raises:
        RegistryDenied: a user without a password, and nobody to ask.
    """
    if not target:
        return None
    return registry_credentials(username, password_stdin)


def registry_credentials(username: str, password_stdin: bool) -> Credentials | None:
    """Whom a registry lets in; None: nobody was named.

    Raises:
        RegistryDenied: a user without a password, and nobody to ask.
    """
    username = username or os.environ.get(USERNAME_VARIABLE, "")
    if not username:
        return None
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        if not sys.stdin.isatty() or password_stdin:
            raise RegistryDenied(f"There is no password for {username}.", f"Pipe it in with --password-stdin, or set {PASSWORD_VARIABLE}.")
        password = click.prompt(f"Password of {username}", hide_input=True, err=True)
    return Credentials(username, password)
