"""Azure as our cloud: what this folder's other modules do, in one object. Each is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.core.cloud import Account, RegistrySignIn, Right, SignInStep, Targets, Workspace
from toolkit.core.model_registry import ModelRegistry
from toolkit.settings import Settings


class Azure:
    """Answers `toolkit.core.cloud.Cloud`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registries: dict[str, RegistrySignIn] = {}
        """One sign-in for every step of a run."""
        self._stores: dict[str, ModelRegistry] = {}

    def sign_in(
        self,
        tell: Callable[[SignInStep], None],
        tenant: str = "",
        with_code: bool = True,
        leave: Callable[[], bool] = lambda: False,
    ) -> Account:
        from deploy import signin

        account = signin.sign_in_now(self._settings, tell, tenant, with_code, leave)
        self._forget()
        return account

    def account(self) -> Account:
        from deploy import signin

        return signin.account(self._settings)

    def sign_out(self) -> bool:
        from deploy import signin

        self._forget()
        return signin.sign_out()

    def _forget(self) -> None:
        """What was signed in to as somebody else."""
        self._registries.clear()
        self._stores.clear()

    def targets(self) -> Targets:
        from deploy import signin, targets

        return targets.targets(signin.credential(self._settings))

    def rights(self, workspace: Workspace | None, registry: str, repository: str = "") -> list[Right]:
        from deploy import rights, signin

        return rights.rights(signin.credential(self._settings), workspace, registry, repository)

    def registry_sign_in(self, host: str) -> RegistrySignIn:
        from deploy import acr, signin

        if host not in self._registries:
            self._registries[host] = acr.registry_sign_in(signin.credential(self._settings), host)
        return self._registries[host]

    def idle_minutes(self, workspace: Workspace, compute: str) -> int:
        from deploy import signin
        from deploy.compute import idle_minutes

        return idle_minutes(signin.credential(self._settings), workspace, compute)

    def model_registry(self, place: str) -> ModelRegistry:
        from deploy import model_registry

        if place not in self._stores:
            self._stores[place] = model_registry.model_registry(self._settings, place)
        return self._stores[place]
