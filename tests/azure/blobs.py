"""The storage account's front: counts, befallen by faults, strict with Entra's tokens; the bytes lie in Azurite behind it."""

from __future__ import annotations

import ssl
import time
from xml.sax.saxutils import escape

import jwt

from tests.azure.arm import BLOBS, STORAGE
from tests.azure.calls import Answer, Call
from tests.azure.certs import Certificates
from tests.azure.cloud import Cloud
from tests.azure.fronts import Front

MOST_SKEW = 15 * 60
"""Seconds by which the date of a request signed with an account key may differ from the storage's clock."""


class Blobs(Front):
    def __init__(self, cloud: Cloud, certificates: Certificates, port: int) -> None:
        self._cloud = cloud
        super().__init__(certificates, cloud.unknown)
        self.backend = (port, ssl.create_default_context(cafile=str(certificates.authority)))

    def now(self) -> float:
        return self._cloud.now() + self.clock_skew

    def answer(self, call: Call) -> Answer | None:
        """Refusals that Azurite does not know: of a token that is over or of another audience, of rights, of clocks."""
        way = call.headers.get("authorization", "")
        if way.startswith("SharedKey ") and abs(self.now() - time.time()) > MOST_SKEW:
            return _refused(403, "AuthenticationFailed", "Request date header too old: 'check the clock of this machine'.")
        if not way.startswith("Bearer "):
            return None
        try:
            self._cloud.people.check(call.bearer, "https://storage.azure.com", f"https://{call.host}")
        except jwt.InvalidTokenError as exc:
            return _refused(401, "InvalidAuthenticationInfo", f"Server failed to authenticate the request: {exc}.")
        verb = "read" if call.method in ("GET", "HEAD") else "delete" if call.method == "DELETE" else "write"
        scope = f"/providers/{STORAGE}/{self._cloud.resources.account}"
        if self._cloud.resources.may(scope, f"{BLOBS}/containers/blobs/{verb}"):
            return None
        words = "This request is not authorized to perform this operation using this permission."
        return _refused(403, "AuthorizationPermissionMismatch", words)


def _refused(status: int, code: str, message: str) -> Answer:
    said = f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Answer(status, said.encode(), {"Content-Type": "application/xml", "x-ms-error-code": code})
