"""What we ask of a cloud: who we are there, where things can go, and what we may do. `deploy` answers with Azure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.core.engine import Credentials
from toolkit.core.model_registry import ModelRegistry
from toolkit.errors import PublishError

REGISTRY_HOSTS = (".azurecr.io", ".azurecr.cn", ".azurecr.us")
"""Ends of the names of registries that our sign-in to the cloud opens."""


def is_cloud_registry(host: str) -> bool:
    return host.lower().endswith(REGISTRY_HOSTS)


@dataclass(frozen=True)
class Account:
    """Who we are to the cloud, as its token says. For people to read: nothing is decided by it."""

    who: str
    """User name, or the id of an application."""
    kind: str
    """person, service principal or managed identity."""
    tenant: str
    source: str
    """What gave the token, such as `az login`."""
    expires: float
    """Of the token; seconds since the epoch. It is renewed quietly where its source can."""
    object_id: str = ""


@dataclass(frozen=True)
class SignInStep:
    """One word of a sign-in on its way."""

    state: str
    """trying, failed, code or signed_in."""
    source: str
    why: str = ""
    """One line; of `failed`."""
    url: str = ""
    code: str = ""
    expires: float = 0
    """Of the code; seconds since the epoch."""
    account: Account | None = None


@dataclass(frozen=True)
class Workspace:
    """Keeps models."""

    subscription: str
    group: str
    name: str
    location: str = ""
    registry: str = ""
    """Login server of the container registry attached to it."""
    storage: str = ""
    """Name of its storage account."""

    @property
    def id(self) -> str:
        """As settings and commands name it."""
        return f"{self.subscription}/{self.group}/{self.name}"


def parse_workspace(text: str) -> Workspace:
    """The workspace that `SUBSCRIPTION/GROUP/NAME`, or its whole resource id, names.

    Raises:
        PublishError: it is neither.
    """
    parts = text.strip("/").split("/")
    if len(parts) == 8 and [part.lower() for part in parts[::2]] == ["subscriptions", "resourcegroups", "providers", "workspaces"]:
        parts = [parts[1], parts[3], parts[7]]
    if len(parts) != 3 or not all(parts):
        raise PublishError(f"'{text}' names no workspace.", "Write SUBSCRIPTION/GROUP/NAME; `edge targets` lists yours.")
    return Workspace(*parts)


@dataclass(frozen=True)
class Subscription:
    id: str
    name: str
    tenant: str = ""


@dataclass(frozen=True)
class CloudRegistry:
    """Keeps images."""

    login_server: str
    subscription: str
    group: str
    location: str = ""


@dataclass(frozen=True)
class Targets:
    """Where things can go."""

    subscriptions: tuple[Subscription, ...] = ()
    workspaces: tuple[Workspace, ...] = ()
    registries: tuple[CloudRegistry, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be listed, and why; a line each."""


@dataclass(frozen=True)
class Right:
    """Something that publishing needs to be allowed."""

    name: str
    """What for, such as `push images`."""
    scope: str
    """Where, as people call it: `registry labacr.azurecr.io`."""
    role: str
    """The least role that gives it."""
    is_held: bool | None
    """None: it could not be found out, and `why` says so."""
    why: str = ""


class RegistrySignIn(Protocol):
    """Gives what a registry lets us in with; asked again where it was refused, or has expired in the middle of a push."""

    def __call__(self, is_refused: bool = False) -> Credentials | None: ...


class Cloud(Protocol):
    """Every method but `sign_out` may raise CloudError: not reachable, nobody signed in, refused."""

    def sign_in(
        self,
        tell: Callable[[SignInStep], None],
        tenant: str = "",
        with_code: bool = True,
        leave: Callable[[], bool] = lambda: False,
    ) -> Account:
        """Sign in by the first source that works; the last one, a device code, asks a person and may be left out or left.

        Raises:
            SignInError: none works; tells each source's reason.
        """

    def account(self) -> Account:
        """Who we are, without asking anybody.

        Raises:
            SignInError: nobody is signed in.
        """

    def sign_out(self) -> bool:
        """Forget the device code's sign-in; False where there was none. What others keep, such as `az`, is theirs."""

    def targets(self) -> Targets:
        """Everything that this account sees."""

    def rights(self, workspace: Workspace | None, registry: str, repository: str = "") -> list[Right]:
        """What is needed to register in the workspace and to push to the registry, and whether it is held; moves nothing."""

    def registry_sign_in(self, host: str) -> RegistrySignIn: ...

    def idle_minutes(self, workspace: Workspace, compute: str) -> int:
        """After so many idle minutes a compute instance shuts down; 0: never."""

    def model_registry(self, place: str) -> ModelRegistry:
        """The store of models at `SUBSCRIPTION/GROUP/WORKSPACE` or `azureml://registries/NAME`."""


@dataclass(frozen=True)
class Attempts:
    """Every source of a sign-in that was tried, with its reason: what a SignInError tells."""

    failed: tuple[SignInStep, ...] = field(default=())

    def in_words(self) -> str:
        return "; ".join(f"{step.source}: {step.why}" for step in self.failed)
