"""A registry of Azure ML as a store of models: it belongs to no workspace, and has storage of its own that it lends per upload.

Its requests are the resource manager's documented ones. Those of the SDK go to a front end of Azure ML that lends a new place
each time it is asked, so that an upload could neither go on after a cut nor outlive its SAS; and the SDK's uploader comes with
them. None of it was ever run against the service itself.
"""

from __future__ import annotations

import re
import uuid
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from deploy.blob_store import Access, BlobStore
from deploy.model_registry import REGISTRY, REGISTRY_USER, AzureModels
from deploy.model_rest import Missing, Rest
from deploy.model_upload import Upload
from toolkit.core.model_registry import ModelCard, RegisteredModel, Tell
from toolkit.errors import CloudError, PublishError

SECONDS_TO_REGISTER = 600


class RegistryModels(AzureModels):
    """The models of a registry."""

    def __init__(self, credential: Any, place: str, name: str) -> None:
        super().__init__(credential, place)
        self._name = name

    @cached_property
    def rest(self) -> Rest:  # type: ignore[override]
        """In which subscription and group the registry is, Azure ML's discovery knows."""
        from deploy.model_sources import DISCOVERY

        place = f"registry {self._name}"
        asking = Rest(self._credential, "", place, REGISTRY_USER)
        try:
            found = asking.ask("GET", DISCOVERY.format(quote(self._name)))
            subscription, group = found["subscriptionId"], found["resourceGroup"]
        except Missing as exc:
            raise CloudError(f"Azure does not have the {place}: {exc}", "Check its name in the studio.") from None
        except (KeyError, TypeError):
            raise CloudError(f"What answers for the {place} is not Azure ML.", "Check the proxy, if there is one.") from None
        root = (
            f"/subscriptions/{quote(subscription)}/resourceGroups/{quote(group)}"
            f"/providers/Microsoft.MachineLearningServices/registries/{quote(self._name)}"
        )
        return Rest(self._credential, root, place, REGISTRY_USER, f"{REGISTRY}{self._name}/models/{{}}/versions/{{}}")

    def check_version(self, version: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}", version):
            raise PublishError(
                f"'{version}' cannot be a model's version in a registry.", "Take letters, digits, dashes and dots, at most 30."
            )

    def upload(self, folder: Path, digest: str, card: ModelCard, tell: Tell) -> str:
        lent = self._lent(card, digest)
        prefix = f"{lent.prefix}models/{card.name}/{digest}"
        first = [lent]

        def access() -> Access:
            now = (first.pop() if first else self._lent(card, digest)).access
            if (now.account, now.container) != (lent.access.account, lent.access.container):
                raise CloudError(f"The {self.rest.place} lends another place in mid-upload.", "Publish again.")
            return now

        store = BlobStore(access, self._credential)
        with closing(store):
            Upload(store, folder, prefix, digest, tell).send()
        return f"{lent.access.account}/{lent.access.container}/{prefix}"

    def _lent(self, card: ModelCard, digest: str) -> _Place:
        """A place for the upload: the same one again for the same content, so that an upload that was cut goes on."""
        wanted = {"pendingUploadType": "TemporaryBlobReference", "pendingUploadId": str(uuid.uuid5(uuid.NAMESPACE_OID, digest))}
        path = f"/models/{quote(card.name)}/versions/{quote(card.version)}/startPendingUpload"
        return place_of(self._ask("POST", path, wanted), self.rest.place)

    def _ask(self, method: str, path: str, body: dict) -> Any:
        try:
            return self.rest.ask(method, path, body=body)
        except Missing as exc:
            raise CloudError(f"The {self.rest.place} does not have it: {exc}", "Check its name in the studio.") from None

    def put(self, model: RegisteredModel) -> RegisteredModel:
        from azure.core.exceptions import AzureError
        from azure.core.polling import LROPoller
        from azure.mgmt.core.polling.arm_polling import ARMPolling

        about = {
            "modelUri": model.path,
            "modelType": model.type,
            "description": model.description,
            "tags": dict(model.tags),
            "properties": dict(model.properties),
        }
        path = f"/models/{quote(model.name)}/versions/{quote(model.version)}"
        begun = self.rest.ask("PUT", path, body={"properties": about}, whole=True)
        try:
            LROPoller(self.rest.client, begun, lambda _: None, ARMPolling(2)).result(SECONDS_TO_REGISTER)
        except AzureError as exc:
            raise self.rest.told(exc) from None
        made = self.rest.version(model.name, model.version)
        if made is None:
            raise CloudError(f"The {self.rest.place} has not registered {model.name}:{model.version} yet.", "`edge resume` looks again.")
        return made

    def way_to(self, model: RegisteredModel) -> tuple[BlobStore, str]:
        asset = f"{REGISTRY}{self._name}/models/{model.name}/versions/{model.version}"
        path = f"/datareferences/{quote(model.name)}/versions/{quote(model.version)}"

        def place() -> _Place:
            return place_of(self._ask("POST", path, {"assetId": asset, "blobUri": model.path}), self.rest.place)

        first = [place()]
        prefix = urlsplit(model.path).path.lstrip("/").partition("/")[2]
        return BlobStore(lambda: first.pop().access if first else place().access, self._credential, reads=True), prefix


class _Place:
    """Where the registry lets us read or write."""

    def __init__(self, address: str, sas: str, source: str) -> None:
        parts = urlsplit(address)
        container, _, prefix = parts.path.strip("/").partition("/")
        self.access = Access(f"https://{parts.netloc}", container, sas, "sas" if sas else "identity", source)
        self.prefix = f"{prefix}/" if prefix else ""


def place_of(answer: Any, source: str) -> _Place:
    try:
        lent = answer["blobReferenceForConsumption"]
        sas = (lent.get("credential") or {}).get("sasUri") or ""
        address = lent.get("blobUri") or sas
        parts = urlsplit(address)
        assert parts.scheme == "https" and parts.netloc and parts.path.strip("/")
        return _Place(address, urlsplit(sas).query, source)
    except (KeyError, TypeError, AttributeError, AssertionError):
        raise CloudError(f"The {source} names no place for the files.", "Try again later.") from None
