"""A store of model versions as Azure ML keeps one, in a workspace or in a registry."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from tests.azure.calls import Answer, Call, error

Versions = dict[str, dict]
TYPES = ("custom_model", "mlflow_model", "triton_model", "CustomModel", "MLFlowModel", "TritonModel")


class Models:
    def __init__(self, base: str) -> None:
        self.base = base
        """Resource id of the workspace, or address of the registry: what ids of models begin with."""
        self.names: dict[str, Versions] = {}
        """`{"properties", "systemData"}` by name and version, oldest first."""
        self._lock = threading.Lock()

    def put(self, name: str, version: str, properties: dict) -> None:
        """As if it had been registered before."""
        self.names.setdefault(name, {})[version] = {"properties": {**_PLAIN, **properties}, "systemData": made_now()}

    def version(self, name: str, version: str) -> dict | None:
        """What was registered: modelUri, modelType, tags, properties, description and so on."""
        found = self.names.get(name, {}).get(version)
        return found and found["properties"]

    def answer(self, call: Call, parts: list[str]) -> Answer | list[dict] | None:
        """`parts` follow `models/`; a list is for the caller to page."""
        match call.method, parts:
            case "GET", []:
                return [self._container(name) for name in sorted(self.names)]
            case "GET", [name]:
                if name not in self.names:
                    return error(404, "UserError", f"Not found model container {name}.")
                return Answer(200, self._container(name))
            case "PUT", [name] if "://registries/" in self.base:
                self.names.setdefault(name, {})
                return Answer(200, self._container(name))
            case "GET", [name, "versions"]:
                newest = [self._body(name, version) for version in reversed(self.names.get(name, {}))]
                return newest[: int(call.query.get("$top") or len(newest))]
            case "GET", [name, "versions", version]:
                if self.version(name, version) is None:
                    return error(404, "UserError", f"Model container with name: {name} and version {version} not found.")
                return Answer(200, self._body(name, version))
            case "PUT", [name, "versions", version]:
                return self._register(name, version, call.sent["properties"])
        return None

    def _register(self, name: str, version: str, wanted: dict) -> Answer:
        if wanted.get("modelType") not in (None, *TYPES):
            return error(400, "UserError", f"Model type {wanted['modelType']} is not supported.")
        with self._lock:
            known = self.names.get(name, {}).get(version)
            if known and known["properties"]["modelUri"] != wanted["modelUri"]:
                return error(400, "UserError", "Asset paths cannot be updated.")
            properties = {**_PLAIN, **{key: value for key, value in wanted.items() if value is not None}}
            if known:  # what is there of the properties stays
                properties["properties"] = {**properties["properties"], **known["properties"]["properties"]}
            made = known["systemData"] if known else made_now()
            self.names.setdefault(name, {})[version] = {"properties": properties, "systemData": made}
        return Answer(200 if known else 201, self._body(name, version))

    def _container(self, name: str) -> dict:
        versions = list(self.names[name])
        numbers = [int(version) for version in versions if version.isdigit()]
        about = {"description": None, "tags": {}, "properties": {}, "isArchived": False}
        latest = {"latestVersion": versions[-1] if versions else None, "nextVersion": str(max(numbers, default=0) + 1)}
        return {"id": f"{self.base}/models/{name}", "name": name, "properties": {**about, **latest}, "systemData": made_now()}

    def _body(self, name: str, version: str) -> dict:
        return {"id": f"{self.base}/models/{name}/versions/{version}", "name": version, **self.names[name][version]}


_PLAIN = {
    "modelType": "custom_model",
    "flavors": {},
    "tags": {},
    "properties": {},
    "description": None,
    "isArchived": False,
    "isAnonymous": False,
    "stage": None,
    "provisioningState": "Succeeded",
}


def made_now() -> dict[str, str]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"createdAt": now, "createdBy": "Ada", "createdByType": "User", "lastModifiedAt": now, "lastModifiedBy": "Ada"}
