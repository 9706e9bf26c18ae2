"""Registries of Azure ML, which belong to no workspace: found by name at a region's host, with a container of their own for each upload."""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Callable

from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.azure.arm import ML, SUBSCRIPTION, Arm, group_id
from tests.azure.calls import Answer, Call, error
from tests.azure.entra import TENANT
from tests.azure.models import Models

REGION_HOST = "eastus.api.azureml.ms"
REGISTRY = "labmodels"
DATA_PLANE = "/mferp/managementfrontend"
_DISCOVERY = re.compile(r"/registrymanagement/v1\.0/registries/([^/]+)/discovery")
_ASSET = re.compile(rf"{DATA_PLANE}({group_id('assets')}/providers/{ML}/registries/{REGISTRY})/(\w+)(?:/(.*))?", re.IGNORECASE)


class AssetRegistry:
    """The one that there is, `labmodels`."""

    def __init__(self, resources: Arm) -> None:
        self._resources = resources
        self.make_container: Callable[[str], None] = lambda _: None
        self.id = f"{group_id('assets')}/providers/{ML}/registries/{REGISTRY}"
        self.reset()

    def reset(self) -> None:
        self.models = Models(f"azureml://registries/{REGISTRY}")
        self.gives_no_secrets = False
        """Its bytes are open to everyone who may read it, as those of Microsoft's own registries are."""

    def answer(self, call: Call) -> Answer | None:
        if found := _DISCOVERY.fullmatch(call.path):
            return self._discover(found[1]) if call.method == "GET" else None
        if not (found := _ASSET.fullmatch(call.path)) or "api-version" not in call.query:
            return None
        parts = [part for part in (found[3] or "").split("/") if part]
        match call.method, found[2]:
            case _, "models":
                if call.method == "PUT" and (refusal := self._refusal("models/versions/write")):
                    return refusal
                listed = self.models.answer(call, parts)
                return self._resources.page_of(call, listed) if isinstance(listed, list) else listed
            case "PUT", "tempdatarefs":
                return self._refusal("models/versions/write") or self._begin_upload(parts[0], parts[2])
            case "POST", "datarefs":
                return Answer(200, _reference(call.sent["blobUri"], self._read_secret(call.sent["blobUri"])))
        return None

    def _refusal(self, action: str) -> Answer | None:
        return self._resources.refusal(self.id, f"{ML}/registries/{action}")

    def _discover(self, name: str) -> Answer:
        if name != REGISTRY:
            return error(404, "RegistryNotFound", f"Registry {name} was not found.")
        place = {"subscriptionId": SUBSCRIPTION, "resourceGroup": "assets", "primaryRegion": "eastus", "regions": ["eastus"]}
        about = {"registryName": name, "tenantId": TENANT, "workspaceName": None}
        return Answer(200, {**about, **place, "primaryRegionResourceProviderUri": f"https://{REGION_HOST}/"})

    def _begin_upload(self, name: str, version: str) -> Answer:
        if self.models.version(name, version):
            return error(409, "UserError", f"Asset {name} with version {version} already exists.")
        container = f"assets-{secrets.token_hex(8)}"
        self.make_container(container)
        secret = self._secret(container, "read", "list", "write", "create", "add", "delete")
        return Answer(200, _reference(f"https://{self._resources.account}.blob.core.windows.net/{container}", secret))

    def _read_secret(self, uri: str) -> str:
        return "" if self.gives_no_secrets else self._secret(uri.split("/")[3], "read", "list")

    def _secret(self, container: str, *verbs: str) -> str:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        allowed = ContainerSasPermissions(**dict.fromkeys(verbs, True))
        return generate_container_sas(self._resources.account, container, account_key=self._resources.key, permission=allowed, expiry=until)


def _reference(uri: str, secret: str) -> dict:
    credential = {"credentialType": "NoCredentials"}
    if secret:
        container = "/".join(uri.split("/")[:4])
        credential = {"credentialType": "SAS", "sasUri": f"{container}?{secret}"}
    return {"blobReferenceForConsumption": {"blobUri": uri, "storageAccountArmId": "", "credential": credential}}
