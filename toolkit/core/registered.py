"""Models in a store as people ask for them: by name and version, by an image, and held against what is here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.content import folder_digest
from toolkit.core.files import as_size, sha256_of
from toolkit.core.lineage import HOUSE
from toolkit.core.model_registry import ModelRegistry, Moved, RegisteredModel
from toolkit.core.packaging import content_folder
from toolkit.core.targets import package_of
from toolkit.core.workbench import Workbench
from toolkit.errors import PublishError

_VERSIONED = re.compile(r"^(?:azureml:)?(?P<name>[^:/@]+)(?::(?P<version>[^:/]+))?$")
MOST_SHOWN = 5
"""So many differing files are named."""


def name_and_version(text: str) -> tuple[str, str]:
    """Of `NAME`, `NAME:VERSION` or `azureml:NAME:VERSION`.

    Raises:
        PublishError: it is none of these.
    """
    if not text:
        return "", ""
    found = _VERSIONED.match(text)
    if not found:
        raise PublishError(f"'{text}' names no model.", "Write NAME or NAME:VERSION; `edge models` lists them.")
    return found["name"], found["version"] or ""


def asked_for(store: ModelRegistry, wanted: str, image: str = "") -> list[RegisteredModel]:
    """The newest of each model; of one that is named every version; of these, with `image`, what that image carries.

    Raises:
        PublishError: there is no such version.
    """
    name, version = name_and_version(wanted)
    if version:
        found = [model for model in [store.find(name, version)] if model]
    elif name or not image:
        found = store.listed(name)
    else:
        found = [model for newest in store.listed() for model in store.listed(newest.name)]
    if name and not found:
        raise PublishError(f"There is no model {wanted} in {store.place}.", "`edge models` lists what is there.")
    return [model for model in found if carries(model, image)] if image else found


def carries(model: RegisteredModel, image: str) -> bool:
    """An image with this digest or id, or the beginning of one, was published with this version."""
    digest = image.rpartition("@")[2].removeprefix("sha256:")
    return any(one.startswith(digest) for one in [*images_of(model), fact(model, "image.config").removeprefix("sha256:")])


def images_of(model: RegisteredModel) -> list[str]:
    """Digests, as hexadecimal numbers, of the images that carry this version, as its tags and properties say."""
    listed = [fact(model, "image"), *(value for name, value in model.tags.items() if name.startswith(f"{HOUSE}.image."))]
    return list(dict.fromkeys(one.rpartition("sha256:")[2] for value in listed for one in value.split()))


def fact(model: RegisteredModel, name: str) -> str:
    return model.properties.get(f"{HOUSE}.{name}", "")


def metrics_of(model: RegisteredModel) -> dict[str, str]:
    """What was measured with its adapters, by `ADAPTER.MEASURE`."""
    prefix = f"{HOUSE}.metric."
    return {name.removeprefix(prefix): value for name, value in model.properties.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Comparison:
    """Two folders held against each other."""

    digest: str
    """Of what was downloaded."""
    other: str
    differing: tuple[str, ...]
    """Paths that are in one only, or hold other bytes."""

    @property
    def is_same(self) -> bool:
        return not self.differing

    def sentence(self, name: str) -> str:
        if self.is_same:
            return f"It is {name}, byte for byte ({self.digest[:12]})."
        shown = ", ".join(self.differing[:MOST_SHOWN])
        more = f" and {len(self.differing) - MOST_SHOWN} more" if len(self.differing) > MOST_SHOWN else ""
        return f"It differs from {name} in {shown}{more}."


def compared(one: Path, other: Path) -> Comparison:
    here, there = (_files(folder) for folder in (one, other))
    differing = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
    return Comparison(folder_digest(one), folder_digest(other), tuple(differing))


def _files(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: sha256_of(path) for name, path in found.items() if not any(part.startswith(".") for part in Path(name).parts)}


def content_of_run(bench: Workbench, wanted: str) -> tuple[str, Path]:
    """The packaging run that `wanted` means, and the folder that it packaged.

    Raises:
        PublishError: the run packaged nothing.
    """
    run = bench.run(wanted)
    package = package_of(bench, run)
    if package is None or not content_folder(package).is_dir():
        raise PublishError(f"Run {run.id} is not packaged.", f"`edge package {run.id}` first.")
    return package.id, content_folder(package)


def progress_line(moved: Moved) -> str:
    return f"{moved.done / moved.total:.0%} of {as_size(moved.total)}, at {moved.file}" if moved.total else moved.file
