"""A cloud in memory that keeps the contracts of the real one: who is signed in, where things can go, what is allowed, which models there are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolkit.core.cloud import Account, CloudRegistry, RegistrySignIn, Right, SignInStep, Subscription, Targets, Workspace
from toolkit.core.engine import Credentials
from toolkit.core.model_registry import ModelCard, Moved, Planned, RegisteredModel, Tell
from toolkit.errors import CloudError, PublishError, SignInError, VersionTaken

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
WORKSPACE = Workspace("0000-sub", "rg-edge", "travel-ws", "westeurope", "labacr.azurecr.io", "labstore")
OTHER = Workspace("0000-sub", "rg-research", "speech-ws", "northeurope")
REGISTRIES = (
    CloudRegistry("labacr.azurecr.io", "0000-sub", "rg-edge", "westeurope"),
    CloudRegistry("team.azurecr.io", "0000-sub", "rg-team", "westeurope"),
)
CODE, ADDRESS = "FKH4B7TQE", "https://microsoft.com/devicelogin"


def person(expires: float) -> Account:
    return Account("ada@contoso.com", "person", TENANT, "device code", expires)


@dataclass
class FakeModelRegistry:
    """Versions by name. The same content is known by its digest, whatever it is called."""

    place: str
    models: dict[tuple[str, str], RegisteredModel] = field(default_factory=dict)
    digests: dict[tuple[str, str], str] = field(default_factory=dict)

    def holds(self, name: str, version: str, digest: str) -> RegisteredModel:
        """Somebody registered this before."""
        model = RegisteredModel(name, version, f"azureml:{name}:{version}", f"azureml://datastores/default/paths/models/{name}/{digest}")
        self.models[name, version], self.digests[name, version] = model, digest
        return model

    def plan(self, card: ModelCard, digest: str) -> Planned:
        if not card.name or "/" in card.name:
            raise PublishError(f"The store takes no model named '{card.name}'.", "Letters, digits, - and _.")
        versions = [version for name, version in self.models if name == card.name]
        if not card.version:
            same = [version for version in versions if self.digests[card.name, version] == digest]
            if same:
                return Planned(same[-1], self.models[card.name, same[-1]])
            return Planned(str(max((int(version) for version in versions if version.isdigit()), default=0) + 1))
        if card.version not in versions:
            return Planned(card.version)
        if self.digests[card.name, card.version] != digest:
            raise VersionTaken(f"{card.name}:{card.version} is there with other content.", "Leave --version out for the next one.")
        return Planned(card.version, self.models[card.name, card.version])

    def register(self, folder: Path, digest: str, card: ModelCard, tell: Tell) -> RegisteredModel:
        planned = self.plan(card, digest)
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        total, done = sum(sizes.values()), {name: (0, size) for name, size in sizes.items()}
        for name, size in sizes.items():
            if not planned.existing:
                done[name] = (size, size)
                tell(Moved(name, sum(there for there, _ in done.values()), total, 0, dict(done)))
        registered = planned.existing or self.holds(card.name, planned.version, digest)
        told = {"type": card.type, "description": card.description, "tags": dict(card.tags)}
        model = replace(registered, **told, properties=registered.properties or dict(card.properties))
        self.models[card.name, planned.version] = model
        return model

    def find(self, name: str, version: str = "") -> RegisteredModel | None:
        versions = self.listed(name)
        return next((model for model in versions if version in ("", model.version)), None)

    def listed(self, name: str = "") -> list[RegisteredModel]:
        newest_first = list(reversed(self.models.values()))
        if name:
            return [model for model in newest_first if model.name == name]
        return list({model.name: model for model in self.models.values()}.values())[::-1]

    def download(self, model: RegisteredModel, folder: Path, tell: Tell) -> None:
        raise CloudError("This store keeps no bytes.")


@dataclass
class FakeCloud:
    """What it will say is set beforehand. A sign-in that came to its code waits for `approve` or `expire`, or is left."""

    signed_in: Account | None = None
    script: tuple[SignInStep, ...] = ()
    """What a sign-in says of its sources before the code; who is signed in once it is through is `approves`."""
    code_expires: float = 0
    """0: no source asks a person."""
    approves: Account | None = None
    seen: Targets = field(default_factory=Targets)
    allowed: list[Right] = field(default_factory=list)
    is_away: bool = False
    """It does not answer."""
    stores: dict[str, FakeModelRegistry] = field(default_factory=dict)
    left: int = 0
    """Sign-ins that were left."""
    answered: threading.Event = field(default_factory=threading.Event)
    is_known: threading.Event = field(default_factory=threading.Event)
    """Until it is set, `account` does not answer. It is set unless a test clears it."""

    def __post_init__(self) -> None:
        self.is_known.set()

    def approve(self, account: Account | None = None) -> None:
        """The person typed the code."""
        self.approves = account or self.approves
        self.answered.set()

    def sign_in(
        self,
        tell: Callable[[SignInStep], None],
        tenant: str = "",
        with_code: bool = True,
        leave: Callable[[], bool] = lambda: False,
    ) -> Account:
        failed = []
        for step in self.script:
            tell(SignInStep("trying", step.source))
            tell(step)
            failed.append(f"{step.source}: {step.why}")
        if not (with_code and self.code_expires):
            raise SignInError(f"Nobody is signed in to Azure here ({'; '.join(failed)}).", "`az login` does too.")
        tell(SignInStep("trying", "device code"))
        tell(SignInStep("code", "device code", url=ADDRESS, code=CODE, expires=self.code_expires))
        while not self.answered.wait(0.02):
            if leave():
                self.left += 1
                raise SignInError("The sign-in was left.")
        self.answered.clear()
        if self.approves is None:
            tell(SignInStep("failed", "device code", "the code was refused"))
            raise SignInError("The sign-in by device code failed: the code was refused", "Try again, or use `az login`.")
        self.signed_in = self.approves
        tell(SignInStep("signed_in", "device code", account=self.signed_in))
        return self.signed_in

    def account(self) -> Account:
        assert self.is_known.wait(20), "the test never let the cloud answer"
        self._answer()
        if self.signed_in is None:
            raise SignInError("Nobody is signed in to Azure.", "Run `edge login`.")
        return self.signed_in

    def sign_out(self) -> bool:
        was_in, self.signed_in = self.signed_in is not None, None
        return was_in

    def targets(self) -> Targets:
        self.account()
        return self.seen

    def rights(self, workspace: Workspace | None, registry: str, repository: str = "") -> list[Right]:
        self.account()
        wanted = [f"workspace {workspace.name}"] if workspace else []
        wanted += [f"registry {registry}"] if registry else []
        return [right for right in self.allowed if right.scope in wanted or not right.scope.startswith(("workspace ", "registry "))]

    def registry_sign_in(self, host: str) -> RegistrySignIn:
        self.account()
        return lambda is_refused=False: Credentials("00000000-0000-0000-0000-000000000000", "not-a-secret")

    def model_registry(self, place: str) -> FakeModelRegistry:
        self.account()
        return self.stores.setdefault(place, FakeModelRegistry(place))

    def _answer(self) -> None:
        if self.is_away:
            raise CloudError("management.azure.com does not answer.", "Check the network, then try again.")


def lab(expires: float = 0) -> FakeCloud:
    """A cloud with two workspaces and two registries in it; with `expires` somebody is signed in."""
    subscriptions = (Subscription("0000-sub", "Edge research", TENANT),)
    seen = Targets(subscriptions, (WORKSPACE, OTHER), REGISTRIES)
    held = [
        Right("register models", "workspace travel-ws", "AzureML Data Scientist", True),
        Right("push images", "registry labacr.azurecr.io", "AcrPush", True),
    ]
    return FakeCloud(person(expires) if expires else None, seen=seen, allowed=held)


__all__ = ["ADDRESS", "CODE", "FakeCloud", "FakeModelRegistry", "lab", "person"]
