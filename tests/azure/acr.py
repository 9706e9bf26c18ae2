"""A registry of Azure's in the lab: its own two steps from an Entra token to a registry's, before Debian's docker-registry."""

from __future__ import annotations

import base64
import binascii
import secrets
import time

import jwt

from tests.azure.arm import ACR, REGISTRY_HOST
from tests.azure.calls import Answer, Call
from tests.azure.certs import Certificates
from tests.azure.cloud import AUDIENCES, Cloud
from tests.azure.entra import SIGNING_KEY
from tests.azure.fronts import Front
from tests.azure.registry_service import RegistryService, Stored

NOBODY = "00000000-0000-0000-0000-000000000000"
SCOPE_ID = f"/providers/{ACR}/labacr"
INDEX = "application/vnd.oci.image.index.v1+json"
RIGHTS = {"pull": f"{ACR}/pull/read", "push": f"{ACR}/push/write", "metadata_read": f"{ACR}/pull/read"}


class AzureRegistry(Front):
    """Over TLS as labacr.azurecr.io; without certificates a plain door on loopback, for an engine that knows no lab."""

    def __init__(self, cloud: Cloud, certificates: Certificates | None, service: RegistryService) -> None:
        self._cloud, self._service = cloud, service
        super().__init__(certificates, cloud.unknown)
        self.backend = (service.port, None)
        self._is_plain = certificates is None
        self.takes_whole_pieces = False
        """As a gateway: a piece that is cut never reaches the registry, which stands where it stood. Without, docker-registry has
        half of it, and drops the whole upload: it finds other bytes than its location says."""
        self.keeps_referrers = True
        """As registries of OCI 1.1 do; docker-registry itself does not."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}" if self._is_plain else REGISTRY_HOST

    @property
    def base(self) -> str:
        return f"http://{self.address}" if self._is_plain else f"https://{REGISTRY_HOST}"

    @property
    def token_seconds(self) -> float:
        """How long access tokens live that are given out from now on."""
        return self._service.token_seconds

    @token_seconds.setter
    def token_seconds(self, seconds: float) -> None:
        self._service.token_seconds = seconds

    def reset(self) -> None:
        super().reset()
        self.takes_whole_pieces, self.keeps_referrers = False, True
        self._service.reset()

    def forget_tokens(self) -> None:
        """Every access token given so far is over."""
        self._service.generation += 1

    def forget_sign_ins(self) -> None:
        """And every refresh token: who wants another one goes back to Entra."""
        self.forget_tokens()
        self._service.sign_in_generation += 1

    def stored(self, repository: str, reference: str) -> Stored | None:
        """By tag or digest."""
        return self._service.stored(repository, reference)

    def stored_bytes(self) -> int:
        return self._service.stored_bytes()

    def pending_bytes(self) -> int:
        """Of uploads that nobody has finished."""
        return self._service.pending_bytes()

    def now(self) -> float:
        return self._cloud.now() + self.clock_skew

    def relays(self, call: Call) -> bool:
        return call.path.startswith("/v2/")

    def holds_back(self, call: Call) -> bool:
        return self.takes_whole_pieces and call.method == "PATCH"

    def answer(self, call: Call) -> Answer | None:
        if call.path.startswith("/v2/"):
            return self._unless_let_in(call) or self._referrers(call)
        match call.method, call.path:
            case "POST", "/oauth2/exchange":
                return self._exchange(call.sent)
            case "POST", "/oauth2/token":
                return self._give(call.sent.get("refresh_token", ""), call.sent)
            case "GET", "/oauth2/token":
                return self._give(_password(call), call.query)
        return None

    def _exchange(self, form: dict[str, str]) -> Answer:
        """An Entra token for a refresh token of the registry's."""
        if form.get("grant_type") not in ("access_token", "access_token_refresh_token") or form.get("service") != REGISTRY_HOST:
            return _refused(400, "BAD_REQUEST", "grant_type and service must be those of this registry")
        try:
            claims = self._cloud.people.check(form.get("access_token", ""), *AUDIENCES, "https://containerregistry.azure.net")
        except jwt.InvalidTokenError as exc:
            return _refused(401, "UNAUTHORIZED", f"authentication required, visit https://aka.ms/acr/authorization: {exc}")
        about = {"aud": REGISTRY_HOST, "sub": claims["oid"], "grant_type": "refresh_token", "exp": int(self.now()) + 3 * 3600}
        about |= {"generation": self._service.sign_in_generation, "jti": secrets.token_hex(8)}
        made = jwt.encode(about, SIGNING_KEY, algorithm="HS256")
        self._cloud.people.given.add(made)
        return Answer(200, {"refresh_token": made})

    def _give(self, refresh: str, form: dict[str, str]) -> Answer:
        """A refresh token for an access token, with as much of what it asks for as this account's roles allow."""
        try:
            claims = jwt.decode(refresh, SIGNING_KEY, ["HS256"], audience=REGISTRY_HOST, options={"verify_exp": False})
        except jwt.InvalidTokenError as exc:
            return _refused(401, "UNAUTHORIZED", f"refresh token: {exc}")
        if claims.get("generation") != self._service.sign_in_generation or claims["exp"] <= self.now():
            return _refused(401, "UNAUTHORIZED", "refresh token: it is over")
        if form.get("service") != REGISTRY_HOST:
            return _refused(400, "BAD_REQUEST", "service must be that of this registry")
        access = []
        for scope in form.get("scope", "").split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            held = [verb for verb in actions.split(",") if verb in RIGHTS and self._cloud.resources.may(SCOPE_ID, RIGHTS[verb])]
            access.append({"type": kind, "name": name, "actions": held})
        seconds = int(self._service.token_seconds)
        made = self._service.sign(claims["sub"], access, seconds)
        self._cloud.people.given.add(made)
        return Answer(200, {"access_token": made, "expires_in": max(seconds, 60)})

    def _unless_let_in(self, call: Call) -> Answer | None:
        """None: the service may decide. It allows for a minute of clocks that differ; here a token is over when it is over."""
        if not call.bearer:
            return None
        try:
            claims = jwt.decode(call.bearer, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return None
        if claims.get("generation") == self._service.generation and claims["exp"] > time.time():
            return None
        way = {"Www-Authenticate": f'{self._way_in(call)},error="invalid_token"'}
        return _refused(401, "UNAUTHORIZED", "authentication required", way)

    def _referrers(self, call: Call) -> Answer | None:
        name, asks, digest = call.path.removeprefix("/v2/").partition("/referrers/")
        if not (asks and self.keeps_referrers and call.method == "GET"):
            return None
        if f"repository:{name}:pull" not in self._service.held(call.bearer):
            return _refused(401, "UNAUTHORIZED", "authentication required", {"Www-Authenticate": self._way_in(call)})
        kind = call.query.get("artifactType", "")
        found = [one for one in self._service.referrers(name, digest) if kind in ("", one["artifactType"])]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found}
        return Answer(200, index, {"Content-Type": INDEX, **({"OCI-Filters-Applied": "artifactType"} if kind else {})})

    def _way_in(self, call: Call) -> str:
        scope = _scope(call)
        return f'Bearer realm="{self.base}/oauth2/token",service="{REGISTRY_HOST}"' + (f',scope="{scope}"' if scope else "")

    def about_to_relay(self, call: Call) -> dict[str, str]:
        return {"x-forwarded-proto": "http" if self._is_plain else "https"}

    def about_to_answer(self, call: Call, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The way in of the plain door leads to that door's own tokens. What refers to another manifest is told to be kept so."""
        digest = dict(headers).get("Docker-Content-Digest", "")
        if self.keeps_referrers and call.method == "PUT" and (subject := self._service.subject(digest)):
            headers = [*headers, ("OCI-Subject", subject)]
        return [(name, value.replace(f"https://{REGISTRY_HOST}", self.base)) for name, value in headers]


def _password(call: Call) -> str:
    try:
        word = base64.b64decode(call.headers.get("authorization", "").removeprefix("Basic ")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    name, _, password = word.partition(":")
    return password if name == NOBODY else ""


def _scope(call: Call) -> str:
    name = call.path.removeprefix("/v2/")
    for kind in ("/blobs/", "/manifests/", "/tags/", "/referrers/"):
        if kind in name:
            verbs = "pull" if call.method in ("GET", "HEAD") else "pull,push"
            return f"repository:{name.partition(kind)[0]}:{verbs}"
    return ""


def _refused(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"errors": [{"code": code, "message": message, "detail": None}]}, headers or {})
