"""Where base models come from: a workspace, or a registry of Azure ML, Microsoft's own ones among them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from deploy.asset_registry import place_of
from deploy.blob_store import Access, BlobStore
from deploy.model_registry import REGISTRY_USER, WorkspaceModels
from deploy.model_rest import Missing, Rest, as_model
from deploy.signin import credential
from toolkit.core.cloud import Workspace
from toolkit.core.model_registry import RegisteredModel
from toolkit.errors import CloudError, ModelError
from toolkit.settings import Settings

if TYPE_CHECKING:
    from deploy.azureml import Asset

DISCOVERY = "https://eastus.api.azureml.ms/registrymanagement/v1.0/registries/{}/discovery"
"""Knows the region of every registry; the SDK asks here too."""
FRONT_END = "{}/mferp/managementfrontend/subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/registries/{}"
FRONT_END_API = "2021-10-01-dataplanepreview"
_REGION = re.compile(r"https://[\w-]+(\.[\w-]+)*\.azureml\.(ms|net)")
"""Who may see our token."""
NEWEST = {"$orderBy": "createdtime desc", "$top": "1"}
CORRECT = "Correct [model] source in the recipe."


class Source(Protocol):
    def model(self, asset: Asset) -> RegisteredModel:
        """Raises ModelError where it is not there."""

    def newest_version(self, asset: Asset) -> str: ...

    def way_to(self, model: RegisteredModel) -> tuple[BlobStore, str]:
        """Where the files of a version are: container and prefix."""


def source_of(settings: Settings, asset: Asset) -> Source:
    """Raises SignInError where nobody is signed in."""
    if asset.registry:
        return RegistrySource(credential(settings), asset.registry)
    return WorkspaceSource(credential(settings), Workspace(asset.subscription, asset.group, asset.workspace))


class WorkspaceSource(WorkspaceModels):
    """A workspace whose models are only read: also out of data lakes, whose files the blob endpoint gives too."""

    def __init__(self, credential: Any, workspace: Workspace) -> None:
        super().__init__(credential, f"{workspace.subscription}/{workspace.group}/{workspace.name}", workspace)

    def model(self, asset: Asset) -> RegisteredModel:
        try:
            answer = self.rest.ask("GET", f"/models/{quote(asset.name)}/versions/{quote(asset.version)}")
        except Missing as exc:
            raise _not_there(asset, exc) from None
        return as_model(answer, self.rest.place)

    def newest_version(self, asset: Asset) -> str:
        newest = self.rest.newest(asset.name)
        if newest is None:
            raise _not_there(asset, "it has no versions")
        return newest.version

    def _check_kind(self, store: Any) -> None:
        from azure.ai.ml.entities import AzureBlobDatastore, AzureDataLakeGen2Datastore

        if not isinstance(store, AzureBlobDatastore | AzureDataLakeGen2Datastore):
            raise ModelError(
                f"The model's files lie in the datastore {store.name} of the kind {store.type}, which cannot be streamed.",
                "Register them from a blob container or a data lake (Gen2), or copy them here and name their folder as [model] source.",
            )

    def _access(self, store: Any) -> Access:
        from azure.ai.ml.entities import AzureDataLakeGen2Datastore

        if isinstance(store, AzureDataLakeGen2Datastore):
            address = f"{store.protocol}://{store.account_name}.blob.{store.endpoint}"
            return Access(address, store.filesystem, None, "identity", f"datastore {store.name}")
        return super()._access(store)

    def _credential_for(self, store: Any) -> Any:
        """The application that a datastore names, where it names one with its secret; else who is signed in."""
        secret = getattr(store.credentials, "client_secret", None)
        if not secret:
            return self._credential
        from azure.identity import ClientSecretCredential

        return ClientSecretCredential(store.credentials.tenant_id, store.credentials.client_id, secret)


class RegistrySource:
    """A registry that may be anybody's, so that the resource manager does not answer for it: Azure ML's own front end does.

    Requests are those of the SDK's `models.get` and `models.download`.
    """

    def __init__(self, credential: Any, name: str) -> None:
        self._name = name
        self._rest = Rest(credential, "", f"registry {name}", REGISTRY_USER)
        self._root = ""

    def model(self, asset: Asset) -> RegisteredModel:
        try:
            answer = self._ask("GET", f"/models/{quote(asset.name)}/versions/{quote(asset.version)}")
        except Missing as exc:
            raise _not_there(asset, exc) from None
        return as_model(answer, self._rest.place)

    def newest_version(self, asset: Asset) -> str:
        query = "&".join(f"{quote(key)}={quote(value)}" for key, value in NEWEST.items())
        try:
            found = self._ask("GET", f"/models/{quote(asset.name)}/versions", query)["value"]
        except Missing as exc:
            raise _not_there(asset, exc) from None
        if not found:
            raise _not_there(asset, "it has no versions")
        return str(found[0]["name"])

    def way_to(self, model: RegisteredModel) -> tuple[BlobStore, str]:
        asked = {"assetId": f"azureml://registries/{self._name}/models/{model.name}/versions/{model.version}", "blobUri": model.path}
        path = f"/datarefs/{quote(model.name)}/versions/{quote(model.version)}"

        def access() -> Access:
            return place_of(self._ask("POST", path, body=asked), self._rest.place).access

        prefix = urlsplit(model.path).path.lstrip("/").partition("/")[2]
        return BlobStore(access, None, reads=True), prefix  # a signature opens it, or everybody may read it

    def _ask(self, method: str, path: str, query: str = "", body: Any = None) -> Any:
        self._root = self._root or self._found()
        return self._rest.ask(method, f"{self._root}{path}?{query}{'&' if query else ''}api-version={FRONT_END_API}", body=body)

    def _found(self) -> str:
        """The registry's address at its region's front end."""
        answer = self._rest.ask("GET", DISCOVERY.format(quote(self._name)))
        try:
            region = answer["primaryRegionResourceProviderUri"].rstrip("/")
            root = FRONT_END.format(region, quote(answer["subscriptionId"]), quote(answer["resourceGroup"]), quote(self._name))
        except (KeyError, TypeError, AttributeError):
            region = root = ""
        if not _REGION.fullmatch(region):
            raise CloudError(f"What answers for the registry {self._name} is not Azure ML.", "Check the proxy, if there is one.")
        return root


def _not_there(asset: Asset, reason: object) -> ModelError:
    return ModelError(f"Azure ML does not have {asset}: {reason}", CORRECT)
