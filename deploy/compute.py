"""What Azure ML says of a compute instance."""

from __future__ import annotations

from typing import Any

from deploy.targets import TRIES, first_line
from toolkit.core.cloud import Workspace
from toolkit.errors import CloudError


def idle_minutes(credential: Any, workspace: Workspace, name: str) -> int:
    """After so many idle minutes it shuts down; 0: never.

    Raises:
        CloudError: it does not say.
    """
    from azure.ai.ml import MLClient
    from azure.core.exceptions import AzureError

    client = MLClient(credential, workspace.subscription, workspace.group, workspace.name, enable_telemetry=False, **TRIES)
    try:
        found = client.compute.get(name)
    except AzureError as exc:
        raise CloudError(f"Azure ML does not tell of {name}: {first_line(exc)}", "Ask for the role Reader on the workspace.") from exc
    return int(getattr(found, "idle_time_before_shutdown_minutes", None) or 0)
