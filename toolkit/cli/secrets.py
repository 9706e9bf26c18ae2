"""Registry credentials: from standard input, the environment, or a prompt. Kept in memory, handed on through a pipe."""

from __future__ import annotations

import json
import os
import sys

import click

from toolkit.errors import RegistryDenied


def registry_secrets(username: str, password_stdin: bool) -> bytes:
    """What the host driver reads from its standard input.

    Raises:
        RegistryDenied: a user without a password, and nobody to ask.
    """
    username = username or os.environ.get("EDGE_REGISTRY_USERNAME", "")
    if not username:
        return b"{}"
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else os.environ.get("EDGE_REGISTRY_PASSWORD", "")
    if not password:
        if not sys.stdin.isatty() or password_stdin:
            raise RegistryDenied(
                f"There is no password for {username}.", "Pipe it in with --password-stdin, or set EDGE_REGISTRY_PASSWORD."
            )
        password = click.prompt(f"Password of {username}", hide_input=True, err=True)
    return json.dumps({"username": username, "password": password}).encode()
