"""Entra in the lab: tokens for a service principal, for people by device code, and for a machine; checks that tokens are ours and in time."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt

from tests.azure.calls import Answer

ENTRA, MANAGEMENT = "login.microsoftonline.com", "management.azure.com"
TENANT, OTHER_TENANT = "11111111-1111-1111-1111-111111111111", "99999999-9999-9999-9999-999999999999"
CLIENT, SECRET = "22222222-2222-2222-2222-222222222222", "not-a-secret"
ADA, MACHINE = "ada@lab.example", "the machine"
SIGNING_KEY = "not a secret either, only long enough"
SIGN_IN_PAGE = "https://microsoft.com/devicelogin"
KNOWN_TENANTS = ("common", "organizations", TENANT, OTHER_TENANT)
_IDS = {ADA: "44444444-4444-4444-4444-444444444444", CLIENT: "55555555-5555-5555-5555-555555555555"}


@dataclass
class _Device:
    user_code: str
    client: str
    tenant: str
    expires: float
    scope: str
    who: str = ADA


class Entra:
    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.token_seconds = 3600
        """How long tokens live that are given out from now on; below zero they are over, though Entra says an hour."""
        self.code_seconds = 900
        """How long a device code waits for its person."""
        self.devices: dict[str, str] = {}
        """pending, approved or denied, by the code that the person types."""
        self.blocks_device_codes = False
        """As an organisation's Conditional Access may."""
        self.given: set[str] = set()
        """Every secret given out: tokens here, and what others of the lab add."""
        self._codes: dict[str, _Device] = {}
        self._refresh: dict[str, tuple[str, str, str]] = {}

    def reset(self) -> None:
        self.token_seconds, self.code_seconds, self.blocks_device_codes = 3600, 900, False
        for kept in (self.devices, self.given, self._codes, self._refresh):
            kept.clear()

    def approve(self, user_code: str, who: str = ADA) -> None:
        """The person types the code, and says yes."""
        assert self.devices[user_code] == "pending"
        next(device for device in self._codes.values() if device.user_code == user_code).who = who
        self.devices[user_code] = "approved"

    def deny(self, user_code: str) -> None:
        assert self.devices[user_code] == "pending"
        self.devices[user_code] = "denied"

    def revoke(self) -> None:
        """Every person's sign-in is over."""
        self._refresh.clear()

    def token(self, scope: str, who: str = CLIENT, tenant: str = TENANT) -> str:
        now = int(self.now())
        audience = scope.removesuffix("/.default").rstrip("/")
        claims = {"aud": audience, "iss": f"https://sts.windows.net/{tenant}/", "tid": tenant, "jti": secrets.token_hex(8)}
        claims |= {"oid": object_id(who), "sub": object_id(who)} | _about(who)
        times = {"iat": now - 7200, "nbf": now - 7200, "exp": now + self.token_seconds}
        made = jwt.encode({**claims, **times}, SIGNING_KEY, algorithm="HS256")
        self.given.add(made)
        return made

    def check(self, token: str, *audiences: str) -> dict:
        """Claims of a token of ours, in time by the lab's clock, for one of these audiences.

        Raises:
            jwt.InvalidTokenError: it is not.
        """
        ways = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims = jwt.decode(token, SIGNING_KEY, ["HS256"], audience=list(audiences), options=ways)
        if claims["exp"] <= self.now():
            raise jwt.ExpiredSignatureError("Signature has expired")
        return claims

    def expires_in(self) -> int:
        return self.token_seconds if self.token_seconds > 0 else 3600

    def answer(self, method: str, path: str, form: dict[str, str]) -> Answer | None:
        tenant, _, rest = path.removeprefix("/").partition("/")
        if tenant not in KNOWN_TENANTS:
            return _refusal("invalid_tenant", f"AADSTS90002: Tenant '{tenant}' not found.")
        home = TENANT if tenant in ("common", "organizations") else tenant
        match f"{method} {rest}":
            case "GET discovery/instance" if tenant == "common":
                names = {"preferred_network": ENTRA, "preferred_cache": ENTRA, "aliases": [ENTRA]}
                return Answer(200, {"tenant_discovery_endpoint": f"{_base(TENANT)}/.well-known/openid-configuration", "metadata": [names]})
            case "GET v2.0/.well-known/openid-configuration":
                ends = {"token": "token", "authorization": "authorize", "device_authorization": "devicecode"}
                found = {f"{name}_endpoint": f"https://{ENTRA}/{tenant}/oauth2/v2.0/{end}" for name, end in ends.items()}
                return Answer(200, {**found, "issuer": _base(home)})
            case "POST oauth2/v2.0/devicecode":
                return self._begin_device(form, home)
            case "POST oauth2/v2.0/token":
                return self._give(form, home)
        return None

    def _begin_device(self, form: dict[str, str], tenant: str) -> Answer:
        if self.blocks_device_codes:
            return _refusal("access_denied", "AADSTS53003: Access has been blocked by Conditional Access policies.")
        if not (scope := _resource(form)):
            return _NO_SCOPE
        user_code, device_code = f"LAB{secrets.token_hex(3).upper()}", secrets.token_urlsafe(16)
        self._codes[device_code] = _Device(user_code, form["client_id"], tenant, self.now() + self.code_seconds, scope)
        self.devices[user_code] = "pending"
        words = f"To sign in, use a web browser to open the page {SIGN_IN_PAGE} and enter the code {user_code} to authenticate."
        about = {"user_code": user_code, "device_code": device_code, "verification_uri": SIGN_IN_PAGE, "message": words}
        return Answer(200, {**about, "expires_in": self.code_seconds, "interval": 1})

    def _give(self, form: dict[str, str], tenant: str) -> Answer | None:
        if form.get("grant_type") == "urn:ietf:params:oauth:grant-type:device_code":
            return self._poll(form)
        if not (scope := _resource(form)):
            return _NO_SCOPE
        match form.get("grant_type"):
            case "client_credentials":
                if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
                    return _refusal("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401)
                return Answer(200, self._given(scope, CLIENT, tenant))
            case "refresh_token":
                known = self._refresh.get(form["refresh_token"])
                if known is None or known[1] != form["client_id"]:
                    return _refusal("invalid_grant", "AADSTS70008: The provided refresh token has expired due to inactivity.")
                return Answer(200, self._given_to_a_person(scope, *known))
        return None

    def _poll(self, form: dict[str, str]) -> Answer:
        device = self._codes.get(form["device_code"])
        if device is None or device.client != form["client_id"]:
            return _refusal("bad_verification_code", "AADSTS70019: The device code is not known.")
        if device.expires <= self.now():
            return _refusal("expired_token", "AADSTS70020: The provided value for the device code has expired.")
        match self.devices[device.user_code]:
            case "pending":
                return _refusal("authorization_pending", "AADSTS70016: Authorization is pending. Continue polling.")
            case "denied":
                return _refusal("authorization_declined", "AADSTS70000: The person declined to sign in.")
        return Answer(200, self._given_to_a_person(device.scope, device.who, device.client, device.tenant))

    def _given(self, scope: str, who: str, tenant: str) -> dict:
        seconds = self.expires_in()
        token = self.token(scope, who, tenant)
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token, "scope": scope}

    def _given_to_a_person(self, scope: str, who: str, client: str, tenant: str) -> dict:
        refresh = secrets.token_urlsafe(24)
        self._refresh[refresh] = who, client, tenant
        self.given.add(refresh)
        now = int(time.time())
        about = {"aud": client, "iss": _base(tenant), "tid": tenant, "oid": object_id(who), "sub": object_id(who), "ver": "2.0"}
        names = {"preferred_username": who, "name": who.partition("@")[0].title(), "iat": now - 5, "nbf": now - 5, "exp": now + 3600}
        info = base64.urlsafe_b64encode(json.dumps({"uid": object_id(who), "utid": tenant}).encode()).decode().rstrip("=")
        identity = jwt.encode({**about, **names}, SIGNING_KEY, algorithm="HS256")
        return {**self._given(scope, who, tenant), "refresh_token": refresh, "id_token": identity, "client_info": info}


def object_id(who: str) -> str:
    return _IDS.get(who, "66666666-6666-6666-6666-666666666666")


def _resource(form: dict[str, str]) -> str:
    """The one scope that names what the token is for."""
    return next((word for word in form.get("scope", "").split() if "://" in word), "")


def _about(who: str) -> dict[str, str]:
    if who == CLIENT:
        return {"appid": CLIENT, "idtyp": "app"}
    if who == MACHINE:
        return {"appid": "77777777-7777-7777-7777-777777777777", "idtyp": "app", "xms_mirid": "/subscriptions/lab/computes/instance"}
    return {"upn": who, "name": who.partition("@")[0].title(), "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "scp": "user_impersonation"}


def _base(tenant: str) -> str:
    return f"https://{ENTRA}/{tenant}/v2.0"


def _refusal(code: str, words: str, status: int = 400) -> Answer:
    return Answer(status, {"error": code, "error_description": f"{words} Trace ID: lab", "error_codes": [int(words[6:].partition(":")[0])]})


_NO_SCOPE = _refusal("invalid_scope", "AADSTS70011: The provided value for the input parameter 'scope' is not valid.")
