"""What a person asks of publishing, checked as far as nobody has to be asked, and the run that does it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from toolkit.core import lifecycle, oci_layout, packaging, reference
from toolkit.core.cloud import is_cloud_registry, parse_workspace
from toolkit.core.engine import LABEL
from toolkit.core.image_making import LAYOUT_FOLDER
from toolkit.core.run import Run, new_run
from toolkit.core.targets import default_tag, find_image, package_of, packaging_of, run_named
from toolkit.core.workbench import Workbench
from toolkit.errors import PublishError, RunError

AUTO, DIRECT, ENGINE = "auto", "direct", "engine"
"""How layers go: as may be, from the layout on the disk, or by the container engine."""
WAYS = (AUTO, DIRECT, ENGINE)
MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
MODEL_REGISTRY = "azureml://registries/"
"""How a store begins that is no workspace's own."""


MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
NUMBER, ANY_VERSION = re.compile(r"[1-9][0-9]{0,9}"), re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}")


@dataclass(frozen=True)
class PublishWish:
    """What goes where. Without a target nothing is pushed, without a store nothing is registered."""

    image: str
    """An image, or a run that was packaged, or the build of one."""
    target: str = ""
    """`HOST/REPOSITORY[:TAG]`; `HOST` alone, or `HOST/PREFIX/`, takes the recipe's name as repository."""
    username: str = ""
    via: str = AUTO
    store: str = ""
    """`SUBSCRIPTION/GROUP/WORKSPACE` or `azureml://registries/NAME`."""
    model: str = ""
    """Empty: the recipe's name."""
    version: str = ""
    """Empty: the next number."""
    model_type: str = MODEL_TYPES[0]
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """What a name means that is to be published."""

    image: str
    """Reference of the image; of what was packaged as a folder, its run."""
    image_id: str
    """Digest of its configuration; empty: there is no image, only a folder."""
    recipe: str
    package: Run | None
    """The run that packaged it, where that is of this home."""
    layout: oci_layout.Layout | None = None
    """Of the very image that packaging tried; None: only the engine has it."""


def find_source(bench: Workbench, name: str, via: str = AUTO) -> Source:
    """What `name` means; the engine is asked only where this home has no whole layout of it, or where it is to push.

    Raises:
        PublishError: there is no such image, or not in the way that is wanted.
        EngineMissing: only an engine could know, and none answers.
    """
    run = run_named(bench, name)
    package = package_of(bench, run) if run else packaging_of(bench, name)
    if package and package.request["engine"] == "local":
        return Source(package.id, "", package.request["recipe"]["name"], package)
    layout = _layout_of(package) if package and via != ENGINE else None
    if package and layout:
        return Source(package.request["steps"][0]["options"]["tag"], layout.config, package.request["recipe"]["name"], package, layout)
    if via == DIRECT:
        raise PublishError(
            f"The layout of '{name}' is not at hand, or is not of the image that was tried.", "Push by the engine: `--via engine`."
        )
    image_name, image = find_image(bench, name)
    package = package or packaging_of(bench, image.id)
    layout = _layout_of(package) if package and via != ENGINE else None
    image_id = layout.config if layout else image.id
    return Source(image_name, image_id, image.labels.get(f"{LABEL}.recipe", "image"), package, layout)


def _layout_of(package: Run) -> oci_layout.Layout | None:
    """The layout in a packaging run's folder, if it is whole and of the image that the run made and tried."""
    made = {f"sha256:{artifact.sha256}" for artifact in package.state().artifacts if artifact.kind == "image"}
    with suppress(RunError):
        layout = oci_layout.read(package.folder / LAYOUT_FOLDER)
        return layout if made & {layout.config, layout.manifest} else None
    return None


def whole_target(target: str, source: Source) -> reference.Reference:
    """Where the image goes, with everything that was left out: the recipe's name as repository, the image's own tag.

    Raises:
        PublishError: malformed.
    """
    place = target.strip()
    if "/" not in place and ("." in place or ":" in place or place == "localhost"):
        place += "/"
    return reference.parse(place + source.recipe if place.endswith("/") else place, default_tag(source.image))


def in_registry(settings_registry: str) -> str:
    """The target that the setting `registry` stands for: HOST, or HOST/PREFIX, takes the recipe's name behind it."""
    return f"{settings_registry.rstrip('/')}/" if settings_registry else ""


def whole_store(store: str) -> str:
    """The store as requests name it.

    Raises:
        PublishError: it is neither a workspace nor a registry of models.
    """
    if not store:
        return ""
    if not store.startswith("azureml://"):
        return parse_workspace(store).id
    name = store.removeprefix(MODEL_REGISTRY).strip("/")
    if not store.startswith(MODEL_REGISTRY) or not name or "/" in name:
        raise PublishError(f"'{store}' names no registry of models.", f"Write {MODEL_REGISTRY}NAME.")
    return MODEL_REGISTRY + name


def make_request(bench: Workbench, wish: PublishWish) -> dict:
    """What a publishing run is asked. The user name is kept, the password never is.

    Raises:
        PublishError: malformed target or store, no such image, or nothing to do.
        EngineMissing: only an engine could know the image, and none answers.
    """
    return _request(wish, *_checked(bench, wish))


def start_publish(bench: Workbench, wish: PublishWish, secrets: bytes) -> Run:
    """Start publishing.

    Raises:
        PublishError, EngineMissing: as `make_request`.
        CloudMissing: it needs a cloud, and its libraries are not installed.
    """
    request = make_request(bench, wish)
    if request["steps"][0]["kind"] == "rights":
        bench.cloud()
    run = new_run(bench.settings.runs, "publish", request["recipe"]["name"], lambda _: request)
    lifecycle.start(bench.host_driver(secrets), run)
    return run


def _checked(bench: Workbench, wish: PublishWish) -> tuple[Source, str, str]:
    """The source, and target and store as written in full; what can be wrong without asking an engine is found first."""
    if wish.via not in WAYS:
        raise PublishError(f"There is no way '{wish.via}' to push.", f"Choose one of: {', '.join(WAYS)}.")
    if wish.model_type not in MODEL_TYPES:
        raise PublishError(f"There is no type of models '{wish.model_type}'.", f"Choose one of: {', '.join(MODEL_TYPES)}.")
    if not (wish.target or wish.store):
        raise PublishError(
            "There is nowhere to publish to.", "Give --registry HOST/REPOSITORY, --workspace SUBSCRIPTION/GROUP/NAME, or both."
        )
    store = whole_store(wish.store)
    if store:
        _check_names(wish, store)
    if wish.target:
        whole_target(wish.target, Source("x:1", "", "x", None))
    source = find_source(bench, wish.image, wish.via)
    if wish.target and not source.image_id:
        raise PublishError(
            f"{source.image} is packaged as a folder: there is no image to push.",
            "Package it where Docker answers, or register only: no registry (--no-push).",
        )
    if store and not _content(source)[0]:
        raise PublishError(
            f"The files of {source.image} are not in this home any more: there is nothing to register.",
            "Package its build again, or push only: no workspace (--no-register).",
        )
    return source, str(whole_target(wish.target, source)) if wish.target else "", store


def _check_names(wish: PublishWish, store: str) -> None:
    """What no store takes is refused before there is a run; what one alone refuses, it says in the first step."""
    if wish.model and not MODEL_NAME.fullmatch(wish.model):
        raise PublishError(
            f"'{wish.model}' cannot be a model's name.", "Letters, digits, and . _ - after the first character; at most 255 of them."
        )
    pattern, words = (
        (ANY_VERSION, "letters, digits, and . _ -; at most 30") if store.startswith(MODEL_REGISTRY) else (NUMBER, "a whole number")
    )
    if wish.version and not pattern.fullmatch(wish.version):
        raise PublishError(f"'{wish.version}' cannot be a version in {store}: it takes {words}.", "Leave it out for the next number.")


def _content(source: Source) -> tuple[str, str]:
    """The folder that is registered, and its digest as packaging recorded it."""
    if source.package is None:
        return "", ""
    folder = packaging.content_folder(source.package)
    made = [artifact.sha256 for artifact in source.package.state().artifacts if artifact.kind == "model"]
    return (str(folder), made[-1]) if made and folder.is_dir() else ("", "")


def _request(wish: PublishWish, source: Source, target: str, store: str) -> dict:
    content, digest = _content(source)
    options = {
        "image": source.image,
        "image_id": source.image_id,
        "target": target,
        "username": wish.username,
        "via": DIRECT if source.layout else ENGINE,
        "layout": str(source.layout.folder) if source.layout else "",
        "package": source.package.id if source.package else "",
        "content": content,
        "content_sha256": digest,
        "store": store,
        "model": (wish.model or source.recipe) if store else "",
        "version": wish.version,
        "type": wish.model_type,
        "description": wish.description,
        "tags": dict(wish.tags),
    }
    steps = [{"name": kind, "kind": kind, "options": options, "inputs": {}} for kind in _kinds(target, store, wish.username)]
    return {"engine": "docker" if source.image_id else "local", "recipe": {"name": source.recipe}, "steps": steps}


def _kinds(target: str, store: str, username: str) -> list[str]:
    """The steps: rights only where a cloud gives them, and not to a user who brings a password; links only where there are two ends."""
    kinds = ["rights"] if store or (is_cloud_registry(target.partition("/")[0]) and not username) else []
    kinds += ["push", "verify"] if target else []
    kinds += ["register"] if store else []
    return kinds + (["link"] if target and store else [])
