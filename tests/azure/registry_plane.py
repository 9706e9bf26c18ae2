"""What the resource manager says of a registry of Azure ML: models, a place for an upload, and a way to read."""

from __future__ import annotations

import re

from tests.azure.assets import REGISTRY, AssetRegistry, _reference
from tests.azure.calls import Answer, Call, error
from tests.azure.models import Models

HOST = "management.azure.com"


class RegistryPlane:
    """Of the registry that there is, the same one as Azure ML's front end shows."""

    def __init__(self, assets: AssetRegistry) -> None:
        self._assets = assets
        self._root = re.compile(rf"{re.escape(assets.id)}/(\w+)(?:/(.*))?", re.IGNORECASE)
        self.reset()

    def reset(self) -> None:
        self.lent: dict[str, str] = {}
        """Container by the id of the upload."""
        self.polls = 1
        """So often registering is said to be under way."""
        self._registering = 0

    def answer(self, call: Call) -> Answer | None:
        if not (found := self._root.fullmatch(call.path)) or "api-version" not in call.query:
            return None
        parts = [part for part in (found[2] or "").split("/") if part]
        match call.method, found[1].lower(), parts:
            case "POST", "models", [name, "versions", version, "startPendingUpload"]:
                return self._write() or self._lend(name, version, call.sent)
            case "PUT", "models", [_, "versions", _]:
                return self._write() or self._register(call, parts)
            case "GET", "operations", [_]:
                self._registering -= 1
                return Answer(200, {"status": "InProgress" if self._registering > 0 else "Succeeded"}, {"Retry-After": "0"})
            case "POST", "datareferences", [name, "versions", version]:
                if call.sent["assetId"] != f"azureml://registries/{REGISTRY}/models/{name}/versions/{version}":
                    return error(400, "UserError", "The asset and the address differ.")
                return Answer(200, _reference(call.sent["blobUri"], self._assets._read_secret(call.sent["blobUri"])))
            case "GET", "models", _:
                listed = self._models.answer(call, parts)
                return self._assets._resources.page_of(call, listed) if isinstance(listed, list) else listed
        return None

    @property
    def _models(self) -> Models:
        return self._assets.models

    def _write(self) -> Answer | None:
        return self._assets._refusal("models/versions/write")

    def _lend(self, name: str, version: str, asked: dict) -> Answer:
        if self._models.version(name, version):
            return error(409, "UserError", f"Asset {name} with version {version} already exists.")
        if asked["pendingUploadType"] != "TemporaryBlobReference":
            return error(400, "UserError", "There is no such type of upload.")
        identity = asked["pendingUploadId"]
        if identity not in self.lent:
            self.lent[identity] = f"pending-{identity}"
            self._assets.make_container(self.lent[identity])
        container = self.lent[identity]
        uri = f"https://{self._assets._resources.account}.blob.core.windows.net/{container}"
        secret = self._assets._secret(container, "read", "list", "write", "create", "add", "delete")
        return Answer(200, {**_reference(uri, secret), "pendingUploadId": identity, "pendingUploadType": "TemporaryBlobReference"})

    def _register(self, call: Call, parts: list[str]) -> Answer:
        made = self._models.answer(call, parts)
        assert isinstance(made, Answer)
        if made.status >= 400:
            return made
        self._registering = self.polls
        way = f"https://{HOST}{self._assets.id}/operations/1?api-version=1"
        return Answer(202, made.value, {"Azure-AsyncOperation": way, "Retry-After": "0"})
