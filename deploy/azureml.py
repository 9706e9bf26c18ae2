"""Azure ML as a source of models: `azureml://` assets into a folder, by Azure's own clients."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.signin import sign_in
from toolkit.core.files import as_size, free_bytes
from toolkit.errors import DiskError, ModelError, ToolkitError

_REGISTRY = re.compile(r"^azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$")
_WORKSPACE = re.compile(
    r"^azureml://subscriptions/(?P<subscription>[^/]+)/resource[gG]roups/(?P<group>[^/]+)"
    r"(/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<workspace>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$"
)
_IN_A_DATASTORE = re.compile(r"/datastores/(?P<store>[^/]+)/paths/(?P<prefix>.+?)/?$")
CHUNK_BYTES = 4 << 20
"""Of one request for a part of a file; CONNECTIONS of them are in memory at a time."""
CONNECTIONS = 4

Say = Callable[[str], None]
logging.getLogger("azure").addHandler(logging.NullHandler())  # what it says of errors comes with them


@dataclass(frozen=True)
class Asset:
    """A model of a workspace or of a registry."""

    name: str
    version: str
    registry: str = ""
    subscription: str = ""
    group: str = ""
    workspace: str = ""

    def __str__(self) -> str:
        place = f"registry {self.registry}" if self.registry else f"workspace {self.workspace} of {self.group}"
        return f"{self.name}, version {self.version}, of {place}"


def parse(uri: str) -> Asset:
    """The asset of an `azureml://` address.

    Raises:
        ModelError: it is not one of the two forms that name a version of a model.
    """
    for form in (_REGISTRY, _WORKSPACE):
        if found := form.match(uri):
            return Asset(**{key: value for key, value in found.groupdict().items() if value is not None})
    raise ModelError(
        f"'{uri}' names no Azure ML model.",
        "Write azureml://registries/NAME/models/MODEL/versions/N, or "
        "azureml://subscriptions/ID/resourceGroups/GROUP/workspaces/NAME/models/MODEL/versions/N.",
    )


def fetch_model(uri: str, folder: str, say: Say = lambda _: None) -> None:
    """Fetch the asset's files into `folder`, which is made, and removed again where that fails.

    Two ways were never run to their end, for want of such a place: out of a registry, and out of a datastore that is no
    blob container. Both are the SDK's own.

    Raises:
        ModelError: malformed address, the `azure` extra is not installed, or Azure did not give it.
        DiskError: there is no room for it.
    """
    asset = parse(uri)
    try:
        import azure.ai.ml  # noqa: F401
        from azure.core.exceptions import AzureError
    except ImportError as exc:
        raise ModelError("Azure ML support is not installed.", "pip install 'olive-edge-toolkit[azure]'") from exc
    os.makedirs(folder)
    try:
        _fetch(asset, Path(folder), say)
    except BaseException as exc:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(exc, AzureError):
            raise _told(asset, exc) from exc
        if isinstance(exc, OSError):
            raise ModelError(f"{asset} cannot be written: {exc}", "Check the folder and the room on its disk.") from exc
        raise


def _fetch(asset: Asset, folder: Path, say: Say) -> None:
    """Files that lie in a blob datastore are streamed: the SDK's own download holds each of them in memory whole."""
    from azure.ai.ml.entities import AzureBlobDatastore

    credential = sign_in()
    client = _client(asset, credential)
    path = client.models.get(asset.name, asset.version).path
    found = None if asset.registry else _IN_A_DATASTORE.search(path)
    store = _datastore(client, found["store"]) if found else None
    if isinstance(store, AzureBlobDatastore):
        _stream(store, credential, found["prefix"], folder, say)
    else:
        client.models.download(asset.name, asset.version, download_path=str(folder))


def _client(asset: Asset, credential: Any) -> Any:
    from azure.ai.ml import MLClient

    if asset.registry:
        return MLClient(credential, registry_name=asset.registry, enable_telemetry=False)
    return MLClient(credential, asset.subscription, asset.group, asset.workspace, enable_telemetry=False)


def _datastore(client: Any, name: str) -> Any:
    """The datastore, with its secrets where they may be read; readers of a workspace may not."""
    from azure.core.exceptions import HttpResponseError

    try:
        return client.datastores.get(name, include_secrets=True)
    except HttpResponseError:
        return client.datastores.get(name)


def _stream(store: Any, credential: Any, prefix: str, folder: Path, say: Say) -> None:
    from azure.storage.blob import ContainerClient

    secret = getattr(store.credentials, "account_key", None) or getattr(store.credentials, "sas_token", None)
    address = f"{store.protocol}://{store.account_name}.blob.{store.endpoint}"
    with ContainerClient(address, store.container_name, credential=secret or credential, max_single_get_size=CHUNK_BYTES) as container:
        files = _files(container, prefix, folder)
        total = sum(blob.size for blob in files.values())
        if total > free_bytes(folder):
            raise DiskError(
                f"The model has {as_size(total)} and {as_size(free_bytes(folder))} are free at {folder.parent}.", "Make room there."
            )
        tell, fetched = _teller(total, say), 0
        for target, blob in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as out:
                hook = lambda done, _, before=fetched, name=target.name: tell(before + done, name)  # noqa: E731
                container.download_blob(blob.name, max_concurrency=CONNECTIONS, progress_hook=hook).readinto(out)
            fetched += blob.size


def _files(container: Any, prefix: str, folder: Path) -> dict[Path, Any]:
    """Every blob of the asset, by the file it becomes."""
    files = {}
    for blob in container.list_blobs(name_starts_with=prefix, include=["metadata"]):
        is_ours = blob.name == prefix or blob.name.startswith(f"{prefix}/")  # not those of prefix-2
        if not is_ours or (blob.metadata or {}).get("hdi_isfolder"):
            continue
        target = folder / (blob.name[len(prefix) + 1 :] or prefix.rpartition("/")[2])
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"The model holds a file that would lie outside its folder: {blob.name}", "Register the model anew.")
        files[target] = blob
    if not files:
        raise ModelError(
            f"The model holds no files: {prefix} in {container.account_name}/{container.container_name} is empty.",
            "Register the model anew.",
        )
    return files


def _teller(total: int, say: Say) -> Callable[[int, str], None]:
    """Says each further tenth of the whole; called by several threads, in no order."""
    told, lock = 0, threading.Lock()

    def tell(done: int, name: str) -> None:
        nonlocal told
        tenths = 10 * done // total
        with lock:
            if tenths > told:
                told = tenths
                say(f"{10 * tenths} % of {as_size(total)}, at {name}")

    return tell


def _told(asset: Asset, error: Exception) -> ToolkitError:
    """Azure's error as ours."""
    from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError, ServiceRequestError, ServiceResponseError

    reason = re.sub(r"^\(\w+\) ", "", str(error).partition("\n")[0])
    if isinstance(error, ResourceNotFoundError):
        return ModelError(f"Azure ML does not have {asset}: {reason}", "Correct [model] source in the recipe.")
    if isinstance(error, ClientAuthenticationError):
        return ModelError(
            f"Azure did not accept the sign-in: {reason}", "Sign in anew with `az login`, to the tenant of this subscription."
        )
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return ModelError(f"Azure could not be reached: {reason}", "Check the network, and HTTPS_PROXY where there is a proxy.")
    if getattr(error, "status_code", None) == 403:
        rights = "Ask for the roles AzureML Data Scientist on the workspace and Storage Blob Data Reader on its storage."
        return ModelError(f"Azure refused {asset}: {reason}", rights)
    return ModelError(f"Azure ML did not give {asset}: {reason}", "Check the address and your rights, then try again.")
