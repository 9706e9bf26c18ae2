"""Asking a registry what it really holds, over its own HTTP interface (OCI distribution specification)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

import httpx

from toolkit.core.engine import Credentials
from toolkit.core.reference import Reference
from toolkit.errors import PublishError, RegistryDenied

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


@dataclass(frozen=True)
class Stored:
    """An image as the registry has it."""

    digest: str
    layers: tuple[str, ...]
    bytes: int
    """Bytes of its layers as stored (compressed)."""


def stored(reference: Reference, credentials: Credentials | None, client: httpx.Client | None = None) -> Stored | None:
    """What the registry holds under the reference; None where it holds nothing.

    Raises:
        RegistryDenied: it does not let us in.
        PublishError: it does not answer, or answers nonsense.
    """
    scheme = "http" if reference.is_loopback else "https"
    url = f"{scheme}://{reference.host}/v2/{reference.repository}/manifests/{reference.tag}"
    try:
        with client or httpx.Client(timeout=30, follow_redirects=True) as session:
            answer = session.get(url, headers={"Accept": ", ".join(MANIFESTS)})
            if answer.status_code == 401:
                wanted = answer.headers.get("www-authenticate", "")
                headers = {"Accept": ", ".join(MANIFESTS), "Authorization": _authorization(session, wanted, reference, credentials)}
                answer = session.get(url, headers=headers)
    except httpx.HTTPError as exc:
        raise PublishError(
            f"The registry {reference.host} does not answer: {exc}", "Check its name and your network, then `edge resume` the run."
        ) from exc
    if answer.status_code in (401, 403):
        raise RegistryDenied(f"The registry refused the credentials for {reference}.", "Give --username and --password-stdin.")
    if answer.status_code == 404:
        return None
    if answer.status_code != 200:
        raise PublishError(f"The registry answered {answer.status_code} for {reference}.", "Try again; if it stays, ask its keeper.")
    manifest = answer.json()
    layers = manifest.get("layers", [])
    return Stored(answer.headers.get("docker-content-digest", ""), tuple(x["digest"] for x in layers), sum(x["size"] for x in layers))


def _authorization(session: httpx.Client, wanted: str, reference: Reference, credentials: Credentials | None) -> str:
    pair = (credentials.username, credentials.password) if credentials else None
    if wanted.lower().startswith("basic"):
        if pair is None:
            raise RegistryDenied(
                f"The registry {reference.host} wants a user name and a password.", "Give --username and --password-stdin."
            )
        return "Basic " + base64.b64encode(":".join(pair).encode()).decode()
    fields = dict(re.findall(r'(\w+)="([^"]*)"', wanted))
    if "realm" not in fields:
        raise PublishError(
            f"The registry {reference.host} asks for a way in that we do not know: {wanted!r}.",
            "Use one with basic or token authentication.",
        )
    asked = {"service": fields.get("service", ""), "scope": f"repository:{reference.repository}:pull"}
    answer = session.get(fields["realm"], params=asked, auth=pair)
    if answer.status_code != 200:
        raise RegistryDenied(f"The registry refused the credentials for {reference}.", "Give --username and --password-stdin.")
    token = answer.json()
    return f"Bearer {token.get('access_token') or token.get('token')}"
