"""The resource manager of the lab: subscriptions, workspaces, registries, rights, datastores and computes."""

from __future__ import annotations

import datetime
import fnmatch
import urllib.parse

from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from tests.azure.calls import Answer, Call, error
from tests.azure.entra import OTHER_TENANT, TENANT
from tests.azure.models import Models, made_now

SUBSCRIPTION, OTHER_SUBSCRIPTION = "33333333-3333-3333-3333-333333333333", "88888888-8888-8888-8888-888888888888"
ML, ACR, STORAGE = "Microsoft.MachineLearningServices", "Microsoft.ContainerRegistry/registries", "Microsoft.Storage/storageAccounts"
BLOBS = f"{STORAGE}/blobServices"
REGISTRY_HOST = "labacr.azurecr.io"
STORES = {
    "by_sas": "AccountKey",
    "by_key": "AccountKey",
    "by_identity": "None",
    "for_owners": "AccountKey",
    "by_old_sas": "AccountKey",
    "for_readers": "AccountKey",
    "file_share": "AccountKey",
    "data_lake": "None",
}
"""Kind of credentials by datastore. All keep the same container; they differ in what their secrets are, and who may read them."""
NO_BLOBS = {"file_share": "AzureFile", "data_lake": "AzureDataLakeGen2"}
"""What a datastore is that is no blob container."""
DEFAULT_STORE = "workspaceblobstore"
ALLOWED = {
    f"{ML}/workspaces/*",
    f"{ML}/registries/*",
    f"{ACR}/read",
    f"{ACR}/pull/read",
    f"{ACR}/push/write",
    f"{STORAGE}/read",
    f"{BLOBS}/generateUserDelegationKey/action",
    f"{BLOBS}/containers/read",
}
ALLOWED_ON_DATA = {f"{BLOBS}/containers/blobs/{verb}" for verb in ("read", "write", "add/action", "delete", "move/action")}


def group_id(group: str, subscription: str = SUBSCRIPTION) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def workspace_id(group: str, name: str) -> str:
    return f"{group_id(group)}/providers/{ML}/workspaces/{name}"


WORKSPACE = workspace_id("team", "lab")
OTHER_WORKSPACES = (("team", "lab-dev"), ("other-team", "lab-eu"))


class Arm:
    def __init__(self, account: str, key: str, container: str) -> None:
        self.account, self.key, self.container = account, key, container
        self.reset()

    def reset(self) -> None:
        self.stores = {id_: Models(id_) for id_ in (WORKSPACE, *(workspace_id(*place) for place in OTHER_WORKSPACES))}
        """Models of each workspace."""
        self.default_store = "by_sas"
        """What `workspaceblobstore` is like: one of STORES."""
        self.allowed = {*ALLOWED, *ALLOWED_ON_DATA}
        self.denied: list[tuple[str, str]] = []
        self.hides_registries = False
        """Who may push to a registry need not see it in lists."""
        self.registry_mode = "LegacyRegistryPermissions"
        self.page = 100
        """Entries of one answer to a list."""
        self.computes = {
            "gpu-box": {"computeType": "ComputeInstance", "vmSize": "STANDARD_NC24ADS_A100_V4", "idleTimeBeforeShutdown": "PT30M"}
        }
        """Properties by name, in workspace lab."""

    def deny_actions(self, scope_part: str, action: str) -> None:
        """At scopes whose path has `scope_part` in it; `action` may hold wildcards."""
        self.denied.append((scope_part, action))

    def may(self, scope: str, action: str) -> bool:
        if any(part in scope and fnmatch.fnmatch(action, pattern) for part, pattern in self.denied):
            return False
        return any(fnmatch.fnmatch(action, pattern) for pattern in self.allowed)

    def secrets(self, store: str) -> dict[str, str]:
        if store == "by_key":
            return {"secretsType": "AccountKey", "key": self.key}
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=-1 if store == "by_old_sas" else 1)
        verbs = ("read", "list") if store == "for_readers" else ("read", "list", "write", "create", "add", "delete")
        allowed = ContainerSasPermissions(**dict.fromkeys(verbs, True))
        token = generate_container_sas(self.account, self.container, account_key=self.key, permission=allowed, expiry=until)
        return {"secretsType": "Sas", "sasToken": token}

    def answer(self, call: Call) -> Answer | None:
        """Of a request whose token is good."""
        parts = call.path.strip("/").split("/")
        if len(parts) >= 4 and parts[-2].lower() == "microsoft.authorization":
            return self._permissions(call, parts)
        match call.method, [part.lower() if position % 2 == 0 else part for position, part in enumerate(parts)]:
            case "GET", ["subscriptions"]:
                return self.page_of(call, _subscriptions())
            case "GET", ["tenants"]:
                names = {TENANT: "Lab", OTHER_TENANT: "Elsewhere"}
                return self.page_of(call, [{"id": f"/tenants/{id_}", "tenantId": id_, "displayName": name} for id_, name in names.items()])
            case "GET", ["subscriptions", id_]:
                found = [one for one in _subscriptions() if one["subscriptionId"] == id_]
                return Answer(200, found[0]) if found else _no_subscription(id_)
            case _, ["subscriptions", id_, *_] if id_ not in (SUBSCRIPTION, OTHER_SUBSCRIPTION):
                return _no_subscription(id_)
            case "GET", ["subscriptions", id_, "resourcegroups"]:
                return self.page_of(call, [{"id": group_id(name), "name": name, "location": "eastus"} for name in self._groups(id_)])
            case "GET", ["subscriptions", id_, "providers", kind, "registries"] if kind == ACR.partition("/")[0]:
                return self.page_of(call, [self._registry()] if id_ == SUBSCRIPTION and not self.hides_registries else [])
            case "GET", ["subscriptions", id_, "resourcegroups", group, "providers", kind, "registries", *name] if (
                kind == ACR.partition("/")[0]
            ):
                if name:
                    is_there = (id_, group, name[0]) == (SUBSCRIPTION, "team", "labacr")
                    return Answer(200, self._registry()) if is_there else _not_found(call.path)
                return self.page_of(call, [self._registry()] if (id_, group) == (SUBSCRIPTION, "team") else [])
            case "GET", ["subscriptions", id_, "providers", kind, "workspaces"] if kind == ML:
                return self.page_of(call, [self._workspace(one) for one in self.stores] if id_ == SUBSCRIPTION else [])
            case _, ["subscriptions", _, "resourcegroups", group, "providers", kind, "workspaces", *rest] if kind == ML:
                return self._of_workspaces(call, group, rest)
        return None

    def _of_workspaces(self, call: Call, group: str, rest: list[str]) -> Answer | None:
        if not rest:
            here = [id_ for id_ in self.stores if f"/resourceGroups/{group}/" in id_]
            return self.page_of(call, [self._workspace(id_) for id_ in here])
        id_ = workspace_id(group, rest[0])
        if id_ not in self.stores or SUBSCRIPTION not in call.path:
            return _not_found(call.path.partition("/models/")[0])
        match call.method, rest[1:]:
            case "GET", []:
                return Answer(200, self._workspace(id_))
            case _, ["models", *parts]:
                action = "models/versions/write" if call.method == "PUT" else "models/versions/read"
                return self.refusal(id_, f"{ML}/workspaces/{action}") or self._paged(call, self.stores[id_].answer(call, parts))
            case "GET", ["datastores"]:
                names = [DEFAULT_STORE] if call.query.get("isDefault", "").lower() == "true" else [DEFAULT_STORE, *STORES]
                return self.page_of(call, [self._datastore(id_, name) for name in names])
            case "GET", ["datastores", name] if name in (DEFAULT_STORE, *STORES):
                return Answer(200, self._datastore(id_, name))
            case "POST", ["datastores", name, "listsecrets"] if name in (DEFAULT_STORE, *STORES):
                return self._list_secrets(id_, self.default_store if name == DEFAULT_STORE else name)
            case ("GET", ["datastores", name]) | ("POST", ["datastores", name, "listsecrets"]):
                return error(404, "UserError", f"No datastore named {name}.")
            case "GET", ["computes"]:
                return self.page_of(call, [self._compute(name) for name in self.computes] if id_ == WORKSPACE else [])
            case "GET", ["computes", name]:
                if name not in self.computes or id_ != WORKSPACE:
                    return error(404, "ComputeNotFound", f"Compute with name {name} not found.")
                return Answer(200, self._compute(name))
        return None

    def _list_secrets(self, id_: str, store: str) -> Answer:
        if refusal := self.refusal(id_, f"{ML}/workspaces/datastores/listSecrets/action"):
            return refusal
        if store == "for_owners":
            return error(403, "AuthorizationFailed", "The client may not do datastores/listSecrets/action.")
        if store == "by_identity":
            return error(400, "UserError", "No secrets for credentials of type None.")
        return Answer(200, self.secrets(store))

    def refusal(self, scope: str, action: str) -> Answer | None:
        if self.may(scope, action):
            return None
        words = f"The client does not have authorization to perform action '{action}' over scope '{scope}'."
        return error(403, "AuthorizationFailed", words)

    def _permissions(self, call: Call, parts: list[str]) -> Answer | None:
        """What this account's roles allow at a scope, as the portal asks for it too."""
        if (call.method, parts[-1]) != ("GET", "permissions"):
            return None
        scope = "/" + "/".join(parts[:-3])
        denied = [action for part, action in self.denied if part in scope]
        on_data = {action for action in self.allowed if action.startswith(f"{BLOBS}/containers/blobs")}
        role = {"actions": sorted(self.allowed - on_data), "dataActions": sorted(on_data)}
        return self.page_of(call, [{**role, "notActions": denied, "notDataActions": denied}])

    def _groups(self, subscription: str) -> list[str]:
        return sorted({id_.split("/")[4] for id_ in self.stores}) if subscription == SUBSCRIPTION else []

    def _workspace(self, id_: str) -> dict:
        group, name = id_.split("/")[4], id_.rpartition("/")[2]
        parts = {
            "friendlyName": name,
            "workspaceId": f"lab-{name}",
            "storageAccount": f"{group_id(group)}/providers/{STORAGE}/{self.account}",
            "keyVault": f"{group_id(group)}/providers/Microsoft.KeyVault/vaults/lab",
            "applicationInsights": "",
            "provisioningState": "Succeeded",
            "discoveryUrl": "https://eastus.api.azureml.ms/discovery",
        }
        if name == "lab":
            parts["containerRegistry"] = _registry()["id"]
        about = {"type": f"{ML}/workspaces", "location": "eastus", "kind": "Default", "tags": {}}
        return {"id": id_, "name": name, **about, "properties": parts, "systemData": made_now()}

    def _datastore(self, id_: str, name: str) -> dict:
        asked = self.default_store if name == DEFAULT_STORE else name
        kind = STORES[asked]
        place = {"accountName": self.account, "containerName": self.container, "endpoint": "core.windows.net", "protocol": "https"}
        place |= {"file_share": {"fileShareName": "share"}, "data_lake": {"filesystem": "lake"}}.get(asked, {})
        about = {
            "datastoreType": NO_BLOBS.get(asked, "AzureBlob"),
            "isDefault": name == DEFAULT_STORE,
            "credentials": {"credentialsType": kind},
        }
        properties = {"tags": {}, "properties": {}, "description": None, **about, **place}
        return {"id": f"{id_}/datastores/{name}", "name": name, "properties": properties, "systemData": made_now()}

    def _registry(self) -> dict:
        found = _registry()
        found["properties"]["roleAssignmentMode"] = self.registry_mode
        return found

    def _compute(self, name: str) -> dict:
        own = {"state": "Running", **self.computes[name]}
        kind = own.pop("computeType")
        about = {"computeType": kind, "computeLocation": "eastus", "provisioningState": "Succeeded", "properties": own}
        return {"id": f"{WORKSPACE}/computes/{name}", "name": name, "location": "eastus", "properties": about, "systemData": made_now()}

    def _paged(self, call: Call, found: Answer | list[dict] | None) -> Answer | None:
        return self.page_of(call, found) if isinstance(found, list) else found

    def page_of(self, call: Call, values: list[dict]) -> Answer:
        start = int(call.query.get("$skiptoken") or 0)
        value: dict = {"value": values[start : start + self.page]}
        if len(values) > start + self.page:
            query = urllib.parse.urlencode({**call.query, "$skiptoken": start + self.page})
            value["nextLink"] = f"https://{call.host}{urllib.parse.quote(call.path)}?{query}"
        return Answer(200, value)


def _subscriptions() -> list[dict]:
    names = {SUBSCRIPTION: "Lab", OTHER_SUBSCRIPTION: "Empty"}
    about = {"state": "Enabled", "tenantId": TENANT}
    return [{"id": f"/subscriptions/{id_}", "subscriptionId": id_, "displayName": name, **about} for id_, name in names.items()]


def _registry() -> dict:
    about = {"loginServer": REGISTRY_HOST, "adminUserEnabled": False, "provisioningState": "Succeeded"}
    place = {"id": f"{group_id('team')}/providers/{ACR}/labacr", "name": "labacr", "type": ACR, "location": "eastus"}
    return {**place, "sku": {"name": "Premium", "tier": "Premium"}, "properties": about}


def _no_subscription(id_: str) -> Answer:
    return error(404, "SubscriptionNotFound", f"The subscription '{id_}' could not be found.")


def _not_found(path: str) -> Answer:
    return error(404, "ResourceNotFound", f"The Resource '{path}' was not found.")
