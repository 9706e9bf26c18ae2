"""Who we are to Azure, also over SSH: one source after the other, going on after any failure, a device code at the end."""

from __future__ import annotations

import logging
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from deploy import device_code
from deploy.device_code import PATIENT, record_file
from deploy.kept_tokens import KeptTokens
from toolkit.core.checks.credentials import MACHINE_IDENTITY, PROOFS, SERVICE_PRINCIPAL
from toolkit.core.cloud import Account, Attempts, SignInStep
from toolkit.errors import SignInError
from toolkit.settings import Settings

SCOPE = "https://management.azure.com/.default"
WAYS = "`edge login` asks you; `az login`, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, do too."
CORRECT = "Correct AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or check the network."
MACHINE_CLIENT = "DEFAULT_IDENTITY_CLIENT_ID"
"""Set on compute instances: the identity of the machine, where the endpoint alone gives the token of who signed in to it."""
BY_PRINCIPAL, BY_AZ, BY_MACHINE = "service principal of AZURE_CLIENT_ID", "az login", "identity of this compute instance"
BY_EARLIER, BY_CODE = "earlier edge login", "device code"
AZ_SECONDS = 20
ONCE = {"retry_total": 0, "connection_timeout": 3, "read_timeout": 8}
"""One try: an endpoint that is broken says so at once, and again at each further try. It is on this machine."""
LINE = 200
"""Characters of a reason."""

for _name in ("azure", "msal"):
    logging.getLogger(_name).addHandler(logging.NullHandler())  # what they say of failures is told by us, in one line each


@dataclass(frozen=True)
class Source:
    """One way to sign in."""

    name: str
    make: Callable[[], Any]
    goes_on: Callable[[], Any] | None = None
    """Makes what asks more patiently, once this way has worked."""


_held: weakref.WeakKeyDictionary[Settings, dict[str, tuple[str, Any]]] = weakref.WeakKeyDictionary()
"""The source and the credential that worked, by settings and tenant."""
_asking = threading.Lock()


def credential(settings: Settings) -> Any:
    """The credential that works here, without asking anybody; looked for once in a process.

    Raises:
        SignInError: nobody is signed in; tells each source's reason.
    """
    return _quiet(settings, settings.tenant, lambda _: None)[1]


def account(settings: Settings) -> Account:
    """Who we are, without asking anybody.

    Raises:
        SignInError: nobody is signed in.
    """
    source, found = _quiet(settings, settings.tenant, lambda _: None)
    return _account_of(found, source)


def sign_in_now(settings: Settings, tell: Callable[[SignInStep], None], tenant: str, with_code: bool, leave: Callable[[], bool]) -> Account:
    """As `Cloud.sign_in`."""
    tenant = tenant or settings.tenant
    _held.pop(settings, None)  # whoever asks for it wants a fresh look
    try:
        source, found = _quiet(settings, tenant, tell)
    except SignInError:
        if not with_code:
            raise
        source, found = BY_CODE, _by_code(tenant, tell, leave)
        _held.setdefault(settings, {})[settings.tenant] = source, found
    known = _account_of(found, source)
    tell(SignInStep("signed_in", source, account=known))
    return known


def sign_out() -> bool:
    """Forget the device code's sign-in."""
    _held.clear()
    return device_code.forget()


def sources(tenant: str, environ: Mapping[str, str] = os.environ) -> Iterator[Source]:
    """The ways that ask nobody, in their order; only those that this machine has."""
    import azure.identity as identity

    if all(environ.get(name) for name in SERVICE_PRINCIPAL) and any(environ.get(name) for name in PROOFS):
        is_lent = not any(environ.get(name) for name in PROOFS[:2])
        chosen = identity.WorkloadIdentityCredential if is_lent else identity.EnvironmentCredential
        yield Source(BY_PRINCIPAL, lambda: chosen(**PATIENT))
    if record_file(environ).exists():  # somebody chose it because the ways below did not serve
        yield Source(BY_EARLIER, lambda: device_code.earlier(tenant, environ))
    yield Source(BY_AZ, lambda: identity.AzureCliCredential(tenant_id=tenant, process_timeout=AZ_SECONDS))
    if any(environ.get(name) for name in MACHINE_IDENTITY):
        yield _of_machine(BY_MACHINE)
        if client := environ.get(MACHINE_CLIENT):
            yield _of_machine(f"{BY_MACHINE} ({MACHINE_CLIENT})", client_id=client)


def _of_machine(name: str, **chosen: str) -> Source:
    from azure.identity import ManagedIdentityCredential

    return Source(name, lambda: ManagedIdentityCredential(**chosen, **ONCE), lambda: ManagedIdentityCredential(**chosen, **PATIENT))


def _quiet(settings: Settings, tenant: str, tell: Callable[[SignInStep], None]) -> tuple[str, Any]:
    with _asking:
        known = _held.setdefault(settings, {})
        if settings.tenant not in known or tenant != settings.tenant:
            known[settings.tenant] = first_that_works(sources(tenant), tenant, tell)
        return known[settings.tenant]


def first_that_works(ways: Iterator[Source], tenant: str, tell: Callable[[SignInStep], None]) -> tuple[str, Any]:
    """The name of the source that gave a token, and its credential.

    Raises:
        SignInError: none did; tells each one's reason.
    """
    failed: list[SignInStep] = []
    for source in ways:
        tell(SignInStep("trying", source.name))
        try:
            found = source.make()
            token = found.get_token(SCOPE)
            _check(token.token, tenant)
        except Exception as exc:  # whatever one source does, the next may work: a broken endpoint raises what it likes
            failed.append(SignInStep("failed", source.name, reason(exc)))
            tell(failed[-1])
        else:
            return source.name, KeptTokens(source.goes_on() if source.goes_on else found, (SCOPE, token))
    raise _nobody(failed)


def _check(token: str, tenant: str) -> None:
    """Garbage opens nothing, nor does a token of another tenant; both would hide the ways that come after."""
    given = str(_claims(token).get("tid", ""))
    if token.count(".") != 2:
        raise SignInError("what it gave is no token", WAYS)
    if tenant and re.fullmatch(r"[0-9a-fA-F-]{36}", tenant) and given and given.lower() != tenant.lower():
        raise SignInError(f"its token is for the tenant {given}, not {tenant}", WAYS)


def _nobody(failed: list[SignInStep]) -> SignInError:
    principal = next((step for step in failed if step.source == BY_PRINCIPAL), None)
    others = Attempts(tuple(step for step in failed if step is not principal)).in_words()
    said = f" ({others})" if others else ""
    if principal:
        return SignInError(f"Azure gave no token for AZURE_CLIENT_ID: {principal.why.rstrip('.')}{said}.", CORRECT)
    return SignInError(f"Nobody is signed in to Azure here{said}.", WAYS)


def _by_code(tenant: str, tell: Callable[[SignInStep], None], leave: Callable[[], bool]) -> Any:
    """Ask a person, who types a code on any device.

    Raises:
        SignInError: it came to nothing, or the person left.
    """
    tell(SignInStep("trying", BY_CODE))
    try:
        found = device_code.by_code(
            SCOPE, tenant, lambda url, code, until: tell(SignInStep("code", BY_CODE, url=url, code=code, expires=until)), leave
        )
    except device_code.Left as exc:
        tell(SignInStep("failed", BY_CODE, reason(exc)))
        raise
    except Exception as exc:  # azure-identity raises what it likes
        why = reason(exc)
        tell(SignInStep("failed", BY_CODE, why))
        raise SignInError(f"The sign-in by device code failed: {why.rstrip('.')}.", "Try again, or use `az login`.") from None
    return KeptTokens(found)


def _account_of(found: Any, source: str) -> Account:
    """Raises SignInError where a sign-in that worked does so no more."""
    try:
        token = found.get_token(SCOPE)
    except Exception as exc:
        raise SignInError(f"The sign-in ({source}) is over: {reason(exc).rstrip('.')}.", WAYS) from None
    claims = _claims(token.token)
    kind = "person" if claims.get("scp") else "managed identity" if claims.get("xms_mirid") else "service principal"
    who = claims.get("upn") or claims.get("unique_name") or claims.get("preferred_username") or claims.get("appid") or "unknown"
    return Account(str(who), kind, str(claims.get("tid", "")), source, float(token.expires_on), str(claims.get("oid", "")))


def _claims(token: str) -> Mapping[str, Any]:
    """What a token says of itself, to show it and to tell tenants apart; nothing else is decided by it."""
    import jwt

    with suppress(jwt.InvalidTokenError):
        return jwt.decode(token, options={"verify_signature": False})
    return {}


def reason(error: BaseException) -> str:
    """The first line that says something, without the names of Azure's own classes, and without anything that looks like a token."""
    text = error.message if isinstance(error, SignInError) else getattr(error, "message", "") or str(error)
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    said = re.sub(r"^(Authentication failed: |\w+Credential: |ERROR: )+", "", said)
    said = re.sub(r"\beyJ[\w-]*(\.[\w-]*)*", "…", said)
    return said if len(said) <= LINE else f"{said[: LINE - 1]}…"
