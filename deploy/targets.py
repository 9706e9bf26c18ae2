"""Where things can go in Azure: subscriptions, Azure ML workspaces and container registries that an account sees."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from toolkit.core.cloud import CloudRegistry, Subscription, Targets, Workspace
from toolkit.errors import CloudError

T = TypeVar("T")
AT_ONCE = 4
"""Subscriptions that are asked at a time."""
TIMES = {"connection_timeout": 15, "read_timeout": 60}
TRIES = {"retry_total": 3, "retry_backoff_max": 8, **TIMES}


def targets(credential: Any) -> Targets:
    """Everything that can be listed; what cannot is told as a problem.

    Raises:
        CloudError: not even the subscriptions can be listed.
    """
    try:
        subscriptions = _subscriptions(credential)
    except failures() as exc:
        raise CloudError(f"Azure does not list your subscriptions: {first_line(exc)}", "Check the network, then `edge login`.") from exc
    problems: list[str] = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        asked = [
            (threads.submit(_workspaces, credential, one.id), threads.submit(_registries, credential, one.id)) for one in subscriptions
        ]
        workspaces = [
            found for one, (made, _) in zip(subscriptions, asked, strict=True) for found in _got(made.result, one, "workspaces", problems)
        ]
        registries = [
            found for one, (_, made) in zip(subscriptions, asked, strict=True) for found in _got(made.result, one, "registries", problems)
        ]
    servers = {id_.lower(): registry.login_server for id_, registry in registries}
    return Targets(
        tuple(subscriptions),
        tuple(_attached(workspace, id_, servers) for workspace, id_ in workspaces),
        tuple(registry for _, registry in registries),
        tuple(problems),
    )


def _subscriptions(credential: Any) -> list[Subscription]:
    from azure.mgmt.resource.subscriptions import SubscriptionClient

    with SubscriptionClient(credential, **TRIES) as client:
        found = [Subscription(one.subscription_id, one.display_name or "", one.tenant_id or "") for one in client.subscriptions.list()]
    return sorted(found, key=lambda one: one.name.lower())


def _workspaces(credential: Any, subscription: str) -> list[tuple[Workspace, str]]:
    """With the id of the attached registry. One call for all resource groups."""
    client = ml_client(credential, subscription)
    return [
        (
            Workspace(subscription, one.resource_group or "", one.name, one.location or "", storage=last_of(one.storage_account)),
            one.container_registry or "",
        )
        for one in client.workspaces.list(scope="subscription")
    ]


def ml_client(credential: Any, *place: str) -> Any:
    """The SDK's client of a subscription, or of a workspace in it."""
    with warnings.catch_warnings(action="ignore"):  # of how it uses marshmallow, by the dozen
        from azure.ai.ml import MLClient
    return MLClient(credential, *place, enable_telemetry=False, **TRIES)


def _registries(credential: Any, subscription: str) -> list[tuple[str, CloudRegistry]]:
    """Container registries by their resource ids."""
    from azure.mgmt.containerregistry import ContainerRegistryManagementClient

    with ContainerRegistryManagementClient(credential, subscription, **TRIES) as client:
        return [
            (one.id, CloudRegistry(one.login_server or f"{one.name}.azurecr.io", subscription, one.id.split("/")[4], one.location or ""))
            for one in client.registries.list()
        ]


def _got(result: Callable[[], Iterable[T]], subscription: Subscription, what: str, problems: list[str]) -> Iterable[T]:
    try:
        return result()
    except failures() as exc:
        problems.append(f"{subscription.name or subscription.id}: {what} cannot be listed: {first_line(exc)}")
        return []


def _attached(workspace: Workspace, registry_id: str, servers: dict[str, str]) -> Workspace:
    if not registry_id:
        return workspace
    return replace(workspace, registry=servers.get(registry_id.lower()) or f"{last_of(registry_id)}.azurecr.io")


def failures() -> tuple[type[Exception], ...]:
    """What Azure's clients raise: their own errors, and anything of the rest at an answer that is not of Azure, such as a proxy's page."""
    from azure.core.exceptions import AzureError

    return AzureError, ValueError, AttributeError, TypeError, KeyError


def last_of(resource_id: str | None) -> str:
    """The name at the end of a resource's id."""
    return (resource_id or "").rpartition("/")[2]


def first_line(error: Exception) -> str:
    """Of Azure's words for an error."""
    lines = [line.strip() for line in str(getattr(error, "message", "") or error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
