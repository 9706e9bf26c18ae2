"""What the resource manager says of models, asked by its public REST interface.

Azure's SDK says the same, but to import it costs a second and 80 MB, and it has no public way to the next version's number or
to a place for an upload in a registry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from deploy.blob_store import _first_line
from toolkit.core.model_registry import RegisteredModel
from toolkit.errors import CloudError, PublishError, RightsMissing, SignInError, ToolkitError, VersionTaken

ADDRESS = "https://management.azure.com"
SCOPE = f"{ADDRESS}/.default"
API_VERSION = "2024-10-01"
NO_PLACE = ("ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound", "InvalidSubscriptionId", "ParentResourceNotFound")
"""What it says where a workspace or registry is missing, and not only a model."""
SAME_PATH = "Asset paths cannot be updated"
"""What it says to a version that is there with other content."""
RETRIES = {"retry_total": 5, "retry_backoff_factor": 0.5, "retry_backoff_max": 10, "connection_timeout": 15, "read_timeout": 60}
"""Of the resource manager's clients; they honour `Retry-After` by themselves."""
CONTENT = "edge.content.sha256"
"""Property of a version: the digest of its content."""


WORKSPACE_ID = "azureml:{}:{}"


class Missing(Exception):
    """There is no such model or version."""


class Rest:
    """The models of one workspace or registry."""

    def __init__(self, credential: Any, root: str, place: str, role: str, ids: str = WORKSPACE_ID) -> None:
        """`root` is its resource id; `place` and `role` are what people call it, and what they need there.

        `ids` gives a version's address from its model's name and its number.
        """
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, RetryPolicy, UserAgentPolicy
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

        self.root, self.place, self.role, self.ids = root, place, role, ids
        ways = [RequestIdPolicy(), HeadersPolicy(), UserAgentPolicy("olive-edge-toolkit"), RetryPolicy(**RETRIES)]
        self.client = PipelineClient(ADDRESS, policies=[*ways, ARMChallengeAuthenticationPolicy(credential, SCOPE)])

    def ask(self, method: str, path: str, params: Mapping[str, str] | None = None, body: Any = None, whole: bool = False) -> Any:
        """The answer's JSON, or with `whole` what a poller goes on from.

        Raises:
            Missing: 404, of what was asked for alone.
            CloudError, VersionTaken: as `told` says.
        """
        from azure.core.exceptions import AzureError, HttpResponseError
        from azure.core.rest import HttpRequest

        url = path if path.startswith("https://") else f"{ADDRESS}{self.root}{path}"
        query = None if path.startswith("https://") else {"api-version": API_VERSION, **(params or {})}
        request = HttpRequest(method, url, params=query, json=body, headers={"Accept": "application/json"})
        times = {name: RETRIES[name] for name in ("connection_timeout", "read_timeout")}
        try:
            answer = self.client.send_request(request, _return_pipeline_response=whole, **times)
            response = answer.http_response if whole else answer
            if response.status_code >= 400:
                raise HttpResponseError(response=response)
            return answer if whole else _object(response.json())
        except AzureError as exc:
            raise self.told(exc) from None
        except (ValueError, TypeError):
            raise self._nonsense() from None

    def told(self, exc: Any) -> Exception:
        """The resource manager's error as ours."""
        from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

        if isinstance(exc, ServiceRequestError | ServiceResponseError):
            return CloudError("Azure cannot be reached.", "Check the network, and HTTPS_PROXY where there is a proxy.")
        if not isinstance(exc, HttpResponseError) or exc.status_code is None:
            return SignInError(f"Azure gave no token: {_first_line(exc)}", "`edge login` signs in anew.")
        code = getattr(exc.error, "code", "") or ""
        reason = _first_line(exc.error.message if exc.error and exc.error.message else exc)
        if exc.status_code == 404:
            return self._no_place(reason) if code in NO_PLACE else Missing(reason)
        if exc.status_code == 409 or SAME_PATH in reason:
            return VersionTaken(f"{self.place} refused: {reason}", "Name another version, or none for the next number.")
        if exc.status_code == 401:
            return SignInError(f"Azure did not accept the sign-in: {reason}", "`edge login` signs in anew; check this machine's clock.")
        if exc.status_code == 403:
            return RightsMissing(f"You may not do this in {self.place}: {reason}", f"Ask its owner for the role {self.role} on it.")
        if exc.status_code == 429 or exc.status_code >= 500:
            return CloudError(f"{self.place} is busy: it answered {exc.status_code}.", "Try again later; `edge resume` goes on.")
        return PublishError(f"{self.place} refused: {reason}", "Correct what it names, then publish again.")

    def _nonsense(self) -> ToolkitError:
        return CloudError(f"What answers for {self.place} is not Azure ML.", "Check the proxy, if there is one.")

    def _no_place(self, reason: str) -> ToolkitError:
        return CloudError(f"Azure does not have {self.place}: {reason}", "`edge targets` lists what you can reach.")

    def version(self, name: str, version: str) -> RegisteredModel | None:
        try:
            return as_model(self.ask("GET", f"/models/{quote(name)}/versions/{quote(version)}"), self.place, self.ids)
        except Missing:
            return None

    def newest(self, name: str) -> RegisteredModel | None:
        """The version that was made last."""
        return next(self.versions(name, {"$orderBy": "createdtime desc", "$top": "1"}), None)

    def versions(self, name: str, params: Mapping[str, str] | None = None) -> Iterator[RegisteredModel]:
        try:
            yield from (as_model(item, self.place, self.ids) for item in self._pages(f"/models/{quote(name)}/versions", params))
        except Missing:
            return

    def next_version(self, name: str) -> str:
        """The number that the next version gets by itself."""
        try:
            about = _object(self.ask("GET", f"/models/{quote(name)}").get("properties"))
        except Missing:
            return "1"
        except TypeError:
            raise self._nonsense() from None
        latest = str(about.get("latestVersion") or "0")
        return str(about.get("nextVersion") or (int(latest) + 1 if latest.isdigit() else ""))

    def names(self) -> list[tuple[str, str]]:
        """Every model, with its latest version."""
        found = self._pages("/models", {"listViewType": "ActiveOnly"})
        return [(item["name"], str(item.get("properties", {}).get("latestVersion") or "")) for item in found]

    def _pages(self, path: str, params: Mapping[str, str] | None) -> Iterator[dict]:
        page = self.ask("GET", path, params)
        limit = int((params or {}).get("$top", 0))
        for number, item in enumerate(self._entries(page)):
            if limit and number >= limit:
                return
            yield item
        while page.get("nextLink") and not limit:
            page = self.ask("GET", page["nextLink"])
            yield from self._entries(page)

    def _entries(self, page: dict) -> list[dict]:
        entries = page.get("value", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._nonsense()
        return entries


def _object(answer: Any) -> dict:
    """What every answer of Azure's is; a proxy's page is not.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(answer, dict):
        raise TypeError
    return answer


def as_model(answer: Mapping[str, Any], place: str, ids: str = "") -> RegisteredModel:
    """A version as the resource manager tells of it; without `ids` its address is what it is called there.

    Raises:
        CloudError: it does not.
    """
    try:
        about = answer["properties"]
        found = re.search(r"/models/([^/]+)/versions/([^/]+)$", answer["id"])
        assert found
        return RegisteredModel(
            name=found[1],
            version=found[2],
            id=ids.format(found[1], found[2]) if ids else answer["id"],
            path=about.get("modelUri") or "",
            type=about.get("modelType") or "custom_model",
            description=about.get("description") or "",
            tags={key: str(value) for key, value in (about.get("tags") or {}).items()},
            properties={key: str(value) for key, value in (about.get("properties") or {}).items()},
            created=_seconds((answer.get("systemData") or {}).get("createdAt")),
        )
    except (KeyError, TypeError, AttributeError, AssertionError):
        raise CloudError(f"What answers for {place} is not Azure ML.", "Check the proxy, if there is one.") from None


def _seconds(moment: Any) -> float:
    with suppress(ValueError, AttributeError, TypeError):
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", moment).replace("Z", "+00:00")).timestamp()
    return 0


def holds(model: RegisteredModel, digest: str) -> bool:
    """The version is of this very content: its address says so where we made it, else the property."""
    return model.path.rstrip("/").endswith(f"/{digest}") or model.properties.get(CONTENT) == digest
