"""Stand-in for Azure's resource manager and Entra, over TLS: the answers that publishing and fetching need, and 501 for all else.

It holds no bytes of models: those lie in Azurite, whose secrets it hands out as Azure ML does.
"""

from __future__ import annotations

import jwt

from tests.azure.arm import SUBSCRIPTION, WORKSPACE, Arm
from tests.azure.assets import REGION_HOST, AssetRegistry
from tests.azure.calls import Answer, Call, error
from tests.azure.certs import Certificates
from tests.azure.entra import CLIENT, ENTRA, MANAGEMENT, SECRET, TENANT, Entra
from tests.azure.fronts import Front
from tests.azure.models import Models
from tests.azure.registry_plane import RegistryPlane

__all__ = ["CLIENT", "ENTRA", "MANAGEMENT", "REGISTRIES", "SECRET", "SUBSCRIPTION", "TENANT", "WORKSPACE", "Cloud"]
REGISTRIES = REGION_HOST
AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")


class Cloud(Front):
    def __init__(self, certificates: Certificates, account: str, key: str, container: str) -> None:
        self.people = Entra(self.now)
        self.resources = Arm(account, key, container)
        self.assets = AssetRegistry(self.resources)
        self.plane = RegistryPlane(self.assets)
        super().__init__(certificates, [])

    def reset(self) -> None:
        super().reset()
        self.people.reset()
        self.resources.reset()
        self.assets.reset()
        self.plane.reset()

    @property
    def models(self) -> Models:
        """Of the workspace that tests use when nothing is said."""
        return self.resources.stores[WORKSPACE]

    def model(self, name: str, version: str) -> dict | None:
        return self.models.version(name, version)

    # What tests say most, in short.
    @property
    def token_seconds(self) -> int:
        return self.people.token_seconds

    @token_seconds.setter
    def token_seconds(self, seconds: int) -> None:
        self.people.token_seconds = seconds

    @property
    def devices(self) -> dict[str, str]:
        return self.people.devices

    @property
    def default_store(self) -> str:
        return self.resources.default_store

    @default_store.setter
    def default_store(self, name: str) -> None:
        self.resources.default_store = name

    @property
    def allowed(self) -> set[str]:
        return self.resources.allowed

    @allowed.setter
    def allowed(self, actions: set[str]) -> None:
        self.resources.allowed = actions

    def approve(self, user_code: str) -> None:
        self.people.approve(user_code)

    def deny(self, user_code: str) -> None:
        self.people.deny(user_code)

    def deny_actions(self, scope_part: str, action: str) -> None:
        self.resources.deny_actions(scope_part, action)

    def token(self, scope: str, who: str = CLIENT) -> str:
        return self.people.token(scope, who)

    def answer(self, call: Call) -> Answer | None:
        if call.host == ENTRA:
            return self.people.answer(call.method, call.path, call.sent if isinstance(call.sent, dict) else {})
        if call.host == MANAGEMENT and "api-version" in call.query:
            return self._not_signed_in(call, *AUDIENCES) or self.plane.answer(call) or self.resources.answer(call)
        if call.host == REGISTRIES:
            return self._not_signed_in(call, *AUDIENCES, "https://ml.azure.com") or self.assets.answer(call)
        return None

    def _not_signed_in(self, call: Call, *audiences: str) -> Answer | None:
        try:
            self.people.check(call.bearer, *audiences)
        except jwt.InvalidTokenError as exc:
            way = {"WWW-Authenticate": f'Bearer authorization_uri="https://{ENTRA}/{TENANT}", error="invalid_token"'}
            return error(401, "InvalidAuthenticationToken", f"The access token is invalid: {exc}.", way)
        return None
