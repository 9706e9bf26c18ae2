"""Azure ML as a source of models: `azureml://` assets into a folder, over the real MLClient."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import ModelError

_REGISTRY = re.compile(r"^azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/(versions|labels)/(?P<version>[^/]+)$")
_WORKSPACE = re.compile(
    r"^azureml://subscriptions/(?P<subscription>[^/]+)/resource[gG]roups/(?P<group>[^/]+)"
    r"(/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<workspace>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$"
)


@dataclass(frozen=True)
class Asset:
    """A model of a workspace or of a registry."""

    name: str
    version: str
    registry: str = ""
    subscription: str = ""
    group: str = ""
    workspace: str = ""


def parse(uri: str) -> Asset:
    """The asset of an `azureml://` address.

    Raises:
        ModelError: it is not one of the two forms that name a model.
    """
    for form in (_REGISTRY, _WORKSPACE):
        if found := form.match(uri):
            return Asset(**{key: value for key, value in found.groupdict().items() if value is not None})
    raise ModelError(
        f"'{uri}' names no Azure ML model.",
        "Write azureml://registries/NAME/models/MODEL/versions/N, or "
        "azureml://subscriptions/ID/resourceGroups/GROUP/workspaces/NAME/models/MODEL/versions/N.",
    )


def fetch_model(uri: str, folder: str, client: Any = None) -> None:
    """Download the asset's files into `folder`.

    Raises:
        ModelError: malformed address, the `azure` extra is not installed, or Azure refused.
    """
    asset = parse(uri)
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential
    except ImportError as exc:
        raise ModelError("Azure ML support is not installed.", "pip install 'olive-edge-toolkit[azure]'") from exc
    try:
        chosen = client or _client(asset, DefaultAzureCredential())
        Path(folder).mkdir(parents=True, exist_ok=True)
        chosen.models.download(name=asset.name, version=asset.version, download_path=folder)
    except AzureError as exc:
        raise ModelError(f"Azure ML did not give {uri}: {exc}", "Sign in with `az login`, and check the address and your rights.") from exc


def _client(asset: Asset, credential: Any) -> Any:
    from azure.ai.ml import MLClient

    if asset.registry:
        return MLClient(credential, registry_name=asset.registry)
    return MLClient(credential, asset.subscription, asset.group, asset.workspace)
