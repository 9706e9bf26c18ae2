"""Base models out of Azure ML: `azureml://` assets of workspaces and registries into a folder.

Files are streamed in pieces by several connections; the SDK's own download holds each of them in memory whole. What arrived stays,
so that a fetch that was cut or killed goes on with it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.content import folder_digest
from toolkit.core.files import as_size
from toolkit.core.model_registry import Moved, RegisteredModel
from toolkit.core.workbench import cloud_hint
from toolkit.errors import CloudMissing, ModelError
from toolkit.settings import Settings

_VERSION = r"/models/(?P<name>[^/]+)/(versions/(?P<version>[^/]+)|labels/(?P<label>[^/]+))$"
_REGISTRY = re.compile(r"^azureml://registries/(?P<registry>[^/]+)" + _VERSION)
_WORKSPACE = re.compile(
    r"^azureml://subscriptions/(?P<subscription>[^/]+)/resource[gG]roups/(?P<group>[^/]+)"
    r"(/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<workspace>[^/]+)" + _VERSION
)
LATEST = "latest"

Say = Callable[[str], None]
logging.getLogger("azure").addHandler(logging.NullHandler())  # what it says of errors comes with them


@dataclass(frozen=True)
class Asset:
    """A model of a workspace or of a registry."""

    name: str
    version: str = ""
    """Empty where a label was named."""
    label: str = ""
    registry: str = ""
    subscription: str = ""
    group: str = ""
    workspace: str = ""

    def __str__(self) -> str:
        place = f"registry {self.registry}" if self.registry else f"workspace {self.workspace} of {self.group}"
        return f"{self.name}, {f'version {self.version}' if self.version else f'label {self.label}'}, of {place}"


def parse(uri: str) -> Asset:
    """The asset of an `azureml://` address. `versions/latest` is the label, for no version is called so.

    Raises:
        ModelError: it is not one of the two forms that name a model.
    """
    for form in (_REGISTRY, _WORKSPACE):
        if found := form.match(uri):
            parts = {key: value for key, value in found.groupdict().items() if value is not None}
            if parts.get("version") == LATEST:
                parts["label"] = parts.pop("version")
            return Asset(**parts)
    raise ModelError(
        f"'{uri}' names no Azure ML model.",
        "Write azureml://registries/NAME/models/MODEL/versions/N, or "
        "azureml://subscriptions/ID/resourceGroups/GROUP/workspaces/NAME/models/MODEL/versions/N.",
    )


def fetch_model(settings: Settings, uri: str, folder: str, say: Say = lambda _: None) -> None:
    """Fetch the asset's files into `folder`; what an earlier try left there of the same files is not fetched again.

    Raises:
        ModelError: malformed address, there is no such model, or its files cannot be had this way.
        CloudError: nobody is signed in, Azure refused, or cannot be reached.
        DiskError: there is no room for it.
    """
    asset = parse(uri)
    if importlib.util.find_spec("azure") is None or importlib.util.find_spec("azure.storage.blob") is None:
        raise CloudMissing("Azure ML support is not installed.", cloud_hint())
    from deploy.model_download import Download
    from deploy.model_rest import CONTENT
    from deploy.model_sources import source_of

    source = source_of(settings, asset)
    if not asset.version:
        raise _moving(uri, asset, source.newest_version(asset))
    model = source.model(asset)
    try:
        store, prefix = source.way_to(model)
        with closing(store):
            teller = Teller(say)
            Download(store, prefix, Path(folder), teller).fetch()
    except OSError as exc:
        raise ModelError(f"{asset} cannot be written: {exc}", "Check the folder and the room on its disk.") from exc
    _remove_others(Path(folder), teller.names)
    _check(asset, Path(folder), model, model.properties.get(CONTENT, ""))


def _moving(uri: str, asset: Asset, newest: str) -> ModelError:
    """A recipe names one version, so that the same recipe makes the same model."""
    if asset.label != LATEST:
        return ModelError(f"'{uri}' names a label, which may move.", "Name a version: …/versions/N.")
    fixed = re.sub(r"/(versions|labels)/latest$", f"/versions/{newest}", uri)
    return ModelError(f"'{uri}' is another model tomorrow; today it is version {newest}.", f"Write {fixed}")


def _remove_others(folder: Path, names: set[str]) -> None:
    """What an earlier try fetched and the model no longer has."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in names:
            path.unlink()
        elif path.is_dir() and not path.is_symlink():
            with suppress(OSError):  # it holds files
                os.rmdir(path)


def _check(asset: Asset, folder: Path, model: RegisteredModel, digest: str) -> None:
    if digest and folder_digest(folder) != digest:
        raise ModelError(
            f"{asset} is not what was registered: its content's digest is not {digest[:12]}….", "Register the model anew, from its run."
        )


class Teller:
    """Says each further tenth of the whole, and first what was here already."""

    def __init__(self, say: Say) -> None:
        self._say, self._told, self._begun = say, 0, False
        self.names: set[str] = set()
        """Of the model's files."""

    def __call__(self, moved: Moved) -> None:
        self.names = set(moved.parts)
        tenths = 10 * moved.done // moved.total if moved.total else 10
        if not self._begun:
            self._begun, self._told = True, tenths if moved.skipped else 0
            if moved.skipped:
                self._say(f"{as_size(moved.skipped)} of {as_size(moved.total)} are here already")
        if tenths > self._told:
            self._told = tenths
            self._say(f"{10 * tenths} % of {as_size(moved.total)}, at {Path(moved.file).name}")
