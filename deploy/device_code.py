"""Signing in by a code that a person types on any device, and going on with that in later processes.

The tokens are in azure-identity's own cache; what we keep beside it is its record of the account, which holds none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolkit.core.checks.credentials import ACCOUNT_FILE
from toolkit.core.files import write_text
from toolkit.errors import SignInError
from toolkit.settings import config_file

CACHE = "olive-edge-toolkit"
"""Name of azure-identity's cache for us."""
CACHE_FOLDER = "~/.IdentityService"
KINDS_OF_TOKEN = ("nocae", "cae")
"""Ends of the names of its parts."""
LOOK_SECONDS = 0.1
PATIENT = {"connection_timeout": 10, "read_timeout": 30, "retry_total": 2}
"""A network that swallows everything is told after half a minute, where azure-core's own patience is five minutes a try."""

Show = Callable[[str, str, float], None]
"""Is given the URL, the code, and when that ends."""


class Left(SignInError):
    """The person did not wait."""


def record_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Names the account that signed in; holds no token."""
    return config_file(dict(environ)).with_name(ACCOUNT_FILE)


def by_code(scope: str, tenant: str, show: Show, leave: Callable[[], bool]) -> Any:
    """Ask a person; the credential that goes on with it, and never asks again by itself.

    Raises:
        Left: the person left.
        Exception: whatever azure-identity raises where it comes to nothing.
    """
    asking = _credential(tenant, prompt_callback=lambda url, code, until: show(url, code, until.timestamp()))
    came: list[Any] = []

    def wait() -> None:
        try:
            came.append(asking.authenticate(scopes=[scope]))
        except Exception as exc:  # raised to whoever waits
            came.append(exc)

    thread = threading.Thread(target=wait, daemon=True)  # it cannot be stopped: a person who leaves leaves it behind
    thread.start()
    while thread.is_alive():
        if leave():
            raise Left("The sign-in was left.", "Sign in when you have the time; nothing was changed.")
        thread.join(LOOK_SECONDS)
    [answer] = came
    if isinstance(answer, Exception):
        raise answer
    file = record_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, answer.serialize())
    return _goes_on(answer, tenant)


def earlier(tenant: str, environ: Mapping[str, str] = os.environ) -> Any:
    """The credential of whoever signed in before, in this process or another."""
    import azure.identity as identity

    return _goes_on(identity.AuthenticationRecord.deserialize(record_file(environ).read_text("utf-8")), tenant)


def forget() -> bool:
    """Remove record and cache; False where there was neither."""
    _empty_keyring()
    kept = [record_file(), *Path(CACHE_FOLDER).expanduser().glob(f"{CACHE}.*")]
    was_there = False
    for file in kept:
        with suppress(FileNotFoundError):
            file.unlink()
            was_there = True
    return was_there


def _goes_on(record: Any, tenant: str) -> Any:
    return _credential(tenant or record.tenant_id, authentication_record=record, disable_automatic_authentication=True)


def _credential(tenant: str, **more: Any) -> Any:
    import azure.identity as identity

    # Plain where no keyring is, as over SSH, and then for the owner's eyes only, which is what `az` does too.
    cache = identity.TokenCachePersistenceOptions(name=CACHE, allow_unencrypted_storage=True)
    chosen = {"tenant_id": tenant} if tenant else {}
    return identity.DeviceCodeCredential(cache_persistence_options=cache, **chosen, **PATIENT, **more)


def _empty_keyring() -> None:
    """Where there is one, azure-identity keeps the tokens there under these names; their file only tells when they changed."""
    with suppress(Exception):  # mostly there is none
        from msal_extensions import LibsecretPersistence

        for kind in KINDS_OF_TOKEN:
            file = Path(CACHE_FOLDER).expanduser() / f"{CACHE}.{kind}"
            if file.exists():
                names = {"MsalClientID": "Microsoft.Developer.IdentityService"}
                LibsecretPersistence(str(file), file.name, names, label="MSALCache").save("{}")
