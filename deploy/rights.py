"""What this account may do in Azure: by what its roles allow at each place, and, where that cannot be seen, by a try that moves nothing."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from deploy.targets import TIMES, TRIES, failures, first_line, last_of, ml_client
from toolkit.core.cloud import Right, Workspace
from toolkit.errors import ToolkitError

REGISTER = "Microsoft.MachineLearningServices/workspaces/models/versions/write"
PUSH = "Microsoft.ContainerRegistry/registries/push/write"
PUSH_TO_REPOSITORY = "Microsoft.ContainerRegistry/registries/repositories/content/write"
"""An action on data, which counts where a registry's rights are given by repository."""
BY_REPOSITORY = "AbacRepositoryPermissions"
LIST_SECRETS = "Microsoft.MachineLearningServices/workspaces/datastores/listSecrets/action"
"""Opens a datastore that has a key or a signature of its own."""
WRITE_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
DATA_SCIENTIST, ACR_PUSH, BLOB_CONTRIBUTOR = "AzureML Data Scientist", "AcrPush", "Storage Blob Data Contributor"
REPOSITORY_WRITER = "Container Registry Repository Writer"


@dataclass(frozen=True)
class _Allowed:
    """What one role allows."""

    actions: Sequence[str]
    but: Sequence[str]
    on_data: Sequence[str]
    but_on_data: Sequence[str]


@dataclass(frozen=True)
class _Asking:
    """Whoever asks, over one connection for all clients."""

    credential: Any
    transport: Any

    def client(self, kind: Callable[..., Any], *place: str) -> Any:
        return kind(self.credential, *place, transport=self.transport, **TRIES)


def rights(credential: Any, workspace: Workspace | None, registry: str, repository: str = "") -> list[Right]:
    """As `Cloud.rights`: what is needed in the workspace, on its storage and on the registry."""
    from azure.core.pipeline.transport import RequestsTransport

    with RequestsTransport(**TIMES) as transport:
        asking = _Asking(credential, transport)
        found = _of_workspace(asking, workspace) if workspace else []
        return found + ([_of_registry(asking, registry, repository, workspace)] if registry else [])


def _of_workspace(asking: _Asking, workspace: Workspace) -> list[Right]:
    name, scope = "register models", f"workspace {workspace.name}"
    place = ("Microsoft.MachineLearningServices", "workspaces", workspace.name)
    try:
        allowed = _allowed(asking, workspace.subscription, workspace.group, *place)
    except failures() as exc:
        known = False if getattr(exc, "status_code", 0) in (403, 404) else None
        return [Right(name, scope, DATA_SCIENTIST, known, first_line(exc))]
    may = Right(name, scope, DATA_SCIENTIST, _may(allowed, REGISTER))
    return [may, *_of_storage(asking, workspace, _may(allowed, LIST_SECRETS))] if may.is_held else [may]


def _of_storage(asking: _Asking, workspace: Workspace, may_list_secrets: bool) -> list[Right]:
    """Only where files are reached by who we are; else the workspace itself lets us in to its storage."""
    from azure.ai.ml.entities import AccountKeyConfiguration, SasTokenConfiguration

    name = "write its files"
    client = ml_client(asking.credential, workspace.subscription, workspace.group, workspace.name)
    try:
        store = client.datastores.get_default()
        if isinstance(store.credentials, AccountKeyConfiguration | SasTokenConfiguration) and may_list_secrets:
            return []
        account_id = client.workspaces.get(workspace.name).storage_account or ""
    except failures() as exc:
        return [Right(name, f"storage of workspace {workspace.name}", BLOB_CONTRIBUTOR, None, first_line(exc))]
    account, container = getattr(store, "account_name", ""), getattr(store, "container_name", "")
    scope = f"storage account {account}"
    if not container:
        return [Right(name, f"datastore {store.name}", BLOB_CONTRIBUTOR, None, "it is no container of blobs")]
    if last_of(account_id).lower() != account.lower():
        return [Right(name, scope, BLOB_CONTRIBUTOR, None, "it is not the workspace's own, so its rights cannot be looked at")]
    parts = account_id.strip("/").split("/")
    try:  # a role may be given for the container alone
        above = f"storageAccounts/{account}/blobServices/default"
        allowed = _allowed(asking, parts[1], parts[3], "Microsoft.Storage", "containers", container, above)
    except failures() as exc:
        return [Right(name, scope, BLOB_CONTRIBUTOR, None, first_line(exc))]
    return [Right(name, scope, BLOB_CONTRIBUTOR, _may_on_data(allowed, WRITE_BLOBS))]


def _of_registry(asking: _Asking, host: str, repository: str, workspace: Workspace | None) -> Right:
    name, scope = "push images", f"registry {host}"
    seen, role = _by_roles(asking, host, workspace)
    if seen is True and (role == ACR_PUSH or not repository):
        return Right(name, scope, role, True)
    if repository:  # rights may be given for one repository, and a registry may be hidden from who may push to it
        held, why = _by_trying(asking, host, repository)
        return Right(name, scope, role, held, why)
    return Right(name, scope, role, seen, "" if seen is False else "the registry is not among those that this account sees")


def _by_roles(asking: _Asking, host: str, workspace: Workspace | None) -> tuple[bool | None, str]:
    """Whether roles allow it, None where they cannot be seen; and the role that would."""
    from azure.mgmt.containerregistry import ContainerRegistryManagementClient

    with suppress(*failures()):
        for subscription in _subscriptions(asking, workspace):
            for one in asking.client(ContainerRegistryManagementClient, subscription).registries.list():
                if (one.login_server or "").lower() != host.lower():
                    continue
                group, name = one.id.split("/")[4], last_of(one.id)
                allowed = _allowed(asking, subscription, group, "Microsoft.ContainerRegistry", "registries", name)
                if one.role_assignment_mode == BY_REPOSITORY:
                    return _may_on_data(allowed, PUSH_TO_REPOSITORY), REPOSITORY_WRITER
                return _may(allowed, PUSH), ACR_PUSH
    return None, ACR_PUSH


def _subscriptions(asking: _Asking, workspace: Workspace | None) -> Iterable[str]:
    """The workspace's own first: its registry is mostly there."""
    from azure.mgmt.resource.subscriptions import SubscriptionClient

    own = [workspace.subscription] if workspace else []
    yield from own
    for one in asking.client(SubscriptionClient).subscriptions.list():
        if one.subscription_id not in own:
            yield one.subscription_id


def _by_trying(asking: _Asking, host: str, repository: str) -> tuple[bool | None, str]:
    """Begin an upload and take it back: what pushing does first."""
    from deploy.acr import registry_sign_in
    from toolkit.core.reference import Reference
    from toolkit.core.registry_session import Passing, Session
    from toolkit.errors import RegistryDenied

    try:
        with closing(Session(Reference(host, repository, "latest"), registry_sign_in(asking.credential, host))) as session:
            begun = session.ask("POST", session.url("blobs/uploads/"), (202,))
            with suppress(Passing, ToolkitError):
                session.ask("DELETE", session.url(begun.headers.get("location", ""), session.url("")), (202, 204))
    except RegistryDenied as exc:
        return False, exc.message
    except Passing as exc:
        return None, exc.why
    except ToolkitError as exc:
        return None, exc.message
    return True, ""


def _allowed(asking: _Asking, subscription: str, group: str, provider: str, kind: str, name: str, above: str = "") -> list[_Allowed]:
    """What each of this account's roles allows at a resource; `above` is the path to one that is part of another."""
    from azure.mgmt.authorization import AuthorizationManagementClient

    client = asking.client(AuthorizationManagementClient, subscription)
    return [
        _Allowed(one.actions or (), one.not_actions or (), one.data_actions or (), one.not_data_actions or ())
        for one in client.permissions.list_for_resource(group, provider, above, kind, name)
    ]


def _may(allowed: Iterable[_Allowed], action: str) -> bool:
    return any(_fits(action, one.actions) and not _fits(action, one.but) for one in allowed)


def _may_on_data(allowed: Iterable[_Allowed], action: str) -> bool:
    return any(_fits(action, one.on_data) and not _fits(action, one.but_on_data) for one in allowed)


def _fits(action: str, patterns: Iterable[str]) -> bool:
    """Azure's patterns know `*` only, and no case."""
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower().replace("[", "[[]").replace("?", "[?]")) for pattern in patterns)
