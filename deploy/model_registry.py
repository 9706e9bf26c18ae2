"""Azure ML as a store of models: a workspace's own, or a registry that belongs to none."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy.blob_store import Access, BlobStore
from deploy.model_download import Download
from deploy.model_rest import CONTENT, RETRIES, Rest, holds
from deploy.model_upload import Upload
from toolkit.core.cloud import Workspace, parse_workspace
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelCard, ModelRegistry, Planned, RegisteredModel, Tell
from toolkit.errors import CloudError, ModelError, PublishError, VersionTaken
from toolkit.settings import Settings

TYPES = ("custom_model", "mlflow_model", "triton_model")
REGISTRY = "azureml://registries/"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_DATASTORE_PATH = re.compile(r"/datastores/(?P<store>[^/]+)/paths/(?P<prefix>.+?)/?$")
DATA_SCIENTIST, REGISTRY_USER = "AzureML Data Scientist", "AzureML Registry User"
MOST_TAGS, MOST_CHARACTERS = 50, 1000
"""Of tags and of properties each; and of a value."""


def model_registry(settings: Settings, place: str) -> ModelRegistry:
    """The store at `SUBSCRIPTION/GROUP/WORKSPACE` or `azureml://registries/NAME`.

    Raises:
        PublishError: it is neither.
        SignInError: nobody is signed in.
    """
    from deploy.asset_registry import RegistryModels
    from deploy.signin import credential

    if place.startswith(REGISTRY):
        name = place.removeprefix(REGISTRY).strip("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{1,32}", name):
            raise PublishError(f"'{place}' names no registry of Azure ML.", "Write azureml://registries/NAME.")
        return RegistryModels(credential(settings), place, name)
    return WorkspaceModels(credential(settings), place, parse_workspace(place))


class AzureModels(ABC):
    """What both kinds of store have in common."""

    rest: Rest

    def __init__(self, credential: Any, place: str) -> None:
        self._credential = credential
        self.place = place

    @abstractmethod
    def check_version(self, version: str) -> None:
        """Raises PublishError where it cannot be one."""

    @abstractmethod
    def upload(self, folder: Path, digest: str, card: ModelCard, tell: Tell) -> str:
        """Send what the store lacks; the address of the files."""

    @abstractmethod
    def put(self, model: RegisteredModel) -> RegisteredModel:
        """Register, or update what may be: description and tags."""

    @abstractmethod
    def way_to(self, model: RegisteredModel) -> tuple[BlobStore, str]:
        """Where the files of a version are: container and prefix."""

    def plan(self, card: ModelCard, digest: str) -> Planned:
        self._check(card)
        if card.version:
            there = self.rest.version(card.name, card.version)
            if there and not holds(there, digest):
                raise self._taken(there)
            return Planned(card.version, there)
        newest = self.rest.newest(card.name)
        if newest and holds(newest, digest):
            return Planned(newest.version, newest)
        return Planned(self.rest.next_version(card.name))

    def register(self, folder: Path, digest: str, card: ModelCard, tell: Tell) -> RegisteredModel:
        self._check(card)
        there = self.rest.version(card.name, card.version)
        if there and not holds(there, digest):
            raise self._taken(there)
        if there:
            return self._updated(there, card)
        address = self.upload(folder, digest, card, tell)
        properties = {CONTENT: digest, **card.properties}
        try:
            return self.put(RegisteredModel(card.name, card.version, "", address, card.type, card.description, card.tags, properties))
        except VersionTaken:
            there = self.rest.version(card.name, card.version)
            if there is None:
                raise
            if not holds(there, digest):
                raise self._taken(there) from None
            return self._updated(there, card)

    def _updated(self, there: RegisteredModel, card: ModelCard) -> RegisteredModel:
        """The same content again: tags that are new or changed, and the description, are written over; nothing else can be."""
        tags, description = {**there.tags, **card.tags}, card.description or there.description
        if tags == dict(there.tags) and description == there.description:
            return there
        return self.put(RegisteredModel(there.name, there.version, there.id, there.path, there.type, description, tags, there.properties))

    def find(self, name: str, version: str = "") -> RegisteredModel | None:
        return self.rest.version(name, version) if version else self.rest.newest(name)

    def listed(self, name: str = "") -> list[RegisteredModel]:
        if name:
            found = list(self.rest.versions(name))
        else:
            with ThreadPoolExecutor(8) as asking:
                every = asking.map(lambda known: self.find(*known), self.rest.names())
                found = [model for model in every if model]
        return sorted(found, key=lambda model: model.created, reverse=True)

    def download(self, model: RegisteredModel, folder: Path, tell: Tell) -> None:
        store, prefix = self.way_to(model)
        with closing(store):
            Download(store, prefix, folder, tell).fetch(alone=True)
        digest = model.properties.get(CONTENT, "")
        if digest and folder_digest(folder) != digest:
            raise CloudError(f"What {model.name}:{model.version} holds is not what was registered.", "Register the model anew.")

    def _check(self, card: ModelCard) -> None:
        """Name, version, type, tags and properties by Azure ML's rules: the service looks at them only after the upload.

        Raises:
            PublishError: it would not take them.
        """
        if not _NAME.fullmatch(card.name):
            raise PublishError(
                f"'{card.name}' cannot be a model's name in Azure ML.", "Take letters, digits, dashes, dots and underscores, at most 255."
            )
        if card.version:
            self.check_version(card.version)
        if card.type not in TYPES:
            raise PublishError(f"Azure ML knows no type '{card.type}'.", f"Take one of: {', '.join(TYPES)}.")
        for what, pairs in (("tags", card.tags), ("properties", card.properties)):
            _check_pairs(what, pairs)

    def _taken(self, there: RegisteredModel) -> VersionTaken:
        return VersionTaken(
            f"{there.name}:{there.version} is there with other content.", "Name another version, or none for the next number."
        )


def _check_pairs(what: str, pairs: Mapping[str, str]) -> None:
    if len(pairs) > MOST_TAGS:
        raise PublishError(f"Azure ML takes {MOST_TAGS} {what}; these are {len(pairs)}.", "Leave some out.")
    for key, value in pairs.items():
        if not key or len(key) > 256 or len(value) > MOST_CHARACTERS:
            raise PublishError(f"'{key[:40]}' is too long for Azure ML's {what}.", f"At most {MOST_CHARACTERS} characters.")


class WorkspaceModels(AzureModels):
    """The models of a workspace. Their files lie in its default datastore, under an address that their content names."""

    def __init__(self, credential: Any, place: str, workspace: Workspace) -> None:
        super().__init__(credential, place)
        self._workspace = workspace
        root = (
            f"/subscriptions/{workspace.subscription}/resourceGroups/{workspace.group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{workspace.name}"
        )
        self.rest = Rest(credential, root, f"workspace {workspace.name}", DATA_SCIENTIST)

    @cached_property
    def _ml(self) -> Any:
        with warnings.catch_warnings(action="ignore"):  # of how the SDK uses marshmallow, by the dozen
            from azure.ai.ml import MLClient

        workspace = self._workspace
        place = workspace.subscription, workspace.group, workspace.name
        return MLClient(self._credential, *place, enable_telemetry=False, **RETRIES)

    def check_version(self, version: str) -> None:
        if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
            raise PublishError(
                f"'{version}' cannot be a model's version in a workspace.", "Take a positive whole number, or none for the next one."
            )

    def upload(self, folder: Path, digest: str, card: ModelCard, tell: Tell) -> str:
        store = self._ask(lambda ml: self._datastore(lambda **more: ml.datastores.get_default(**more)))
        prefix = f"models/{card.name}/{digest}"
        with closing(self._open(store)) as container:
            Upload(container, folder, prefix, digest, tell).send()
        return f"azureml://datastores/{store.name}/paths/{prefix}"

    def put(self, model: RegisteredModel) -> RegisteredModel:
        about = {"description": model.description or None, "tags": dict(model.tags), "properties": dict(model.properties)}

        def create(ml: Any) -> Any:
            from azure.ai.ml.entities import Model

            return ml.models.create_or_update(Model(name=model.name, version=model.version, path=model.path, type=model.type, **about))

        made = self._ask(create)
        return RegisteredModel(
            made.name,
            made.version,
            f"azureml:{made.name}:{made.version}",
            made.path or model.path,
            made.type or model.type,
            made.description or "",
            dict(made.tags or {}),
            dict(made.properties or {}),
            made.creation_context.created_at.timestamp() if made.creation_context and made.creation_context.created_at else 0,
        )

    def way_to(self, model: RegisteredModel) -> tuple[BlobStore, str]:
        found = _DATASTORE_PATH.search(model.path)
        if not found:
            raise ModelError(f"The files of {model.name}:{model.version} lie in no datastore: {model.path}.", "Register the model anew.")
        store = self._ask(lambda ml: self._datastore(lambda **more: ml.datastores.get(found["store"], **more)))
        return self._open(store, reads=True), found["prefix"]

    def _datastore(self, get: Callable[..., Any]) -> Any:
        """With its secrets where they may be read; where not, the sign-in has to open the storage."""
        from azure.core.exceptions import HttpResponseError

        try:
            store = get(include_secrets=True)
        except HttpResponseError as exc:
            if exc.status_code != 403:
                raise
            store = get()
        self._check_kind(store)
        return store

    def _check_kind(self, store: Any) -> None:
        from azure.ai.ml.entities import AzureBlobDatastore

        if not isinstance(store, AzureBlobDatastore):
            raise PublishError(
                f"The datastore {store.name} is of the kind {store.type}; models go into blob containers.",
                "Make a blob datastore the workspace's default one, as workspaceblobstore is at first.",
            )

    def _open(self, store: Any, reads: bool = False) -> BlobStore:
        """The datastore's container; once its way in has expired, its secrets are read anew."""
        first = [store]

        def access() -> Access:
            return self._access(
                first.pop() if first else self._ask(lambda ml: self._datastore(lambda **more: ml.datastores.get(store.name, **more)))
            )

        return BlobStore(access, self._credential_for(store), reads=reads)

    def _access(self, store: Any) -> Access:
        account = f"{store.protocol}://{store.account_name}.blob.{store.endpoint}"
        key, sas = getattr(store.credentials, "account_key", None), getattr(store.credentials, "sas_token", None)
        kind = "key" if key else "sas" if sas else "identity"
        return Access(account, store.container_name, key or (sas or "").lstrip("?"), kind, f"datastore {store.name}")

    def _credential_for(self, store: Any) -> Any:
        """What opens a storage that has neither key nor SAS."""
        return self._credential

    def _ask(self, once: Callable[[Any], Any]) -> Any:
        """Something of the SDK's client; its errors as ours."""
        from azure.core.exceptions import AzureError

        try:
            return once(self._ml)
        except AzureError as exc:
            told = self.rest.told(exc)
        except (AttributeError, TypeError, LookupError, ValueError):  # the SDK trips over what is not Azure's
            told = CloudError(f"What answers for {self.rest.place} is not Azure ML.", "Check the proxy, if there is one.")
        except StopIteration:
            told = CloudError(f"{self.rest.place} has no default datastore.", "Choose one in the workspace, under Data, Datastores.")
        if not isinstance(told, CloudError | PublishError):  # Missing
            raise CloudError(f"{self.rest.place} does not have it: {told}", "`edge targets` lists what you can reach.") from None
        raise told from None
