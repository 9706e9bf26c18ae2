"""What a person means by a name: an image, a packaging run, a build; and starting what is done to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.core import content, device, exporting, lifecycle, oci_layout, packaging
from toolkit.core.compare import is_comparison
from toolkit.core.engine import LABEL, ChatHost, Image
from toolkit.core.image_archive import Held, read_file
from toolkit.core.image_making import LAYOUT_FOLDER
from toolkit.core.image_name import image_name, mark_of, owners
from toolkit.core.run import Run, new_run
from toolkit.core.serving import Limits, Serving, serving, start_serving
from toolkit.core.stock import stock
from toolkit.core.workbench import Workbench
from toolkit.errors import ChatError, EngineMissing, PublishError, RunError, RunMissing


@dataclass(frozen=True)
class Packaged:
    """A packaged model: an image of the engine, or a folder of the local engine."""

    reference: str
    device: str
    recipe: str
    adapters: str
    bytes: int
    run: str
    identity: str
    is_strange: bool = False
    """Another home made it."""
    untried: str = ""
    """Why it was not tried where it was packaged; empty: it was."""


@dataclass(frozen=True)
class ChatTarget:
    """What to chat with, who serves it, and the limits of its device."""

    host: ChatHost
    name: str
    served: str
    """The very image by its id, or the folder."""
    limits: Limits = Limits()
    """Of the device it was made for."""
    device: str = ""
    adapters: tuple[str, ...] = ()
    max_length: int = 0
    """Prompt and answer together, in tokens; 0: unknown."""
    needed_mb: int = 0
    """Memory it needs at full length, by its files; 0: unknown."""
    has_base: bool = True
    """It answers without an adapter too."""

    def start(self, limits: Limits | None = None, port: int = 0) -> Serving:
        """Start its server, hardened; it is not ready yet."""
        return start_serving(self.host, self.served, limits or self.limits, self.needed_mb, port)

    def serving(self, limits: Limits | None = None, port: int = 0, api_key: str = "") -> AbstractContextManager[Serving]:
        """Serve it for as long as a block lasts; with `api_key` to those who bring it."""
        return serving(self.host, self.served, limits or self.limits, self.needed_mb, port, api_key)

    def check_adapter(self, adapter: str, models: list[str]) -> None:
        """Raises ChatError where the adapter, or the base where none is named, is not among the served models."""
        known = [model.partition(":")[2] for model in models if ":" in model]
        if not adapter and not self.has_base:
            raise ChatError(f"{self.name} has no model without an adapter.", f"Name one of its adapters: {', '.join(known)}.")
        if adapter and adapter not in known:
            raise ChatError(f"There is no adapter '{adapter}' in {self.name}.", f"It has: {', '.join(known) or 'none'}.")


def start_package(bench: Workbench, build: Run, device_name: str, memory_mb: int = 0) -> Run:
    """Start packaging a build for a device: as an image where an engine answers, as a folder otherwise.

    Raises:
        RecipeError: unknown device.
        RunError: the build is not finished, made nothing for the device, or is a comparison.
    """
    if is_comparison(build.request["steps"]):
        raise RunError(f"Run {build.id} is a comparison: there is nothing in it to package.", "Build the recipe with `edge run`.")
    chosen = device.find(bench.settings.devices, device_name)
    engine = _package_engine(bench)
    recipe = build.request["recipe"]["name"]
    owned = owners(bench.image_engine()) if engine == "docker" else {}
    name = image_name(recipe, chosen.name, build.id, mark_of(bench.settings.runs), owned)
    run = new_run(bench.settings.runs, "package", recipe, lambda _: packaging.request(build, chosen, engine, memory_mb, name))
    lifecycle.start(bench.host_driver(b""), run)
    return run


def _package_engine(bench: Workbench) -> str:
    if bench.settings.engine != "auto":
        if bench.settings.engine == "docker":
            bench.image_engine()
        return bench.settings.engine
    try:
        bench.image_engine()
    except EngineMissing:
        return "local"
    return "docker"


def default_tag(source: str) -> str:
    """The tag that an image keeps in a registry where none is given."""
    return source.rpartition(":")[2] if ":" in source.rpartition("/")[2] else "latest"


def start_export(bench: Workbench, name: str, file: Path, overwrite: bool = False, since: str = "") -> Run:
    """Start saving an image to a file; with `since` only what a device lacks that has that one.

    Raises:
        PublishError: no such image, or the file cannot be written or is there.
        DiskError: it does not fit.
        EngineMissing: its layout is not here, and no engine answers.
    """
    exporting.check_file(file, overwrite)  # before the engine is asked anything
    planned = plan_export(bench, name, since)
    run = new_run(bench.settings.runs, "export", planned.source.recipe, lambda _: exporting.request(planned, file, overwrite))
    lifecycle.start(bench.host_driver(b""), run)
    return run


def plan_export(bench: Workbench, name: str, since: str = "") -> exporting.ExportPlan:
    """What a file of an image would hold; `since` is an image, a run that packaged one, or an exported file.

    Raises:
        PublishError: there is no such image, or nothing that the file could hold.
        EngineMissing: a layout is not here, and no engine answers.
    """
    return exporting.plan(_export_source(bench, name), _held(bench, since) if since else None)


def _held(bench: Workbench, since: str) -> Held:
    file = Path(since).expanduser()
    return read_file(file) if file.is_file() else _export_source(bench, since).held


def _export_source(bench: Workbench, name: str) -> exporting.Source:
    """An image by its layout in this home, else by what the engine holds."""
    run = run_named(bench, name)
    if source := _layout_source(package_of(bench, run) if run else packaging_of(bench, name)):
        return source
    named, image = find_image(bench, name)
    if not run and (source := _layout_source(packaging_of(bench, image.id))):
        return replace(source, name=named)
    return exporting.source_in(bench.image_engine(), named, image, image.labels.get(f"{LABEL}.recipe", "image"))


def packaging_of(bench: Workbench, image: str) -> Run | None:
    """The newest packaging run that made an image of this name or id."""
    for run in reversed(list(_packagings(bench))):
        with suppress(RunError, OSError):
            made = [artifact for artifact in run.state().artifacts if artifact.kind == "image"]
            if any(image in (artifact.path, f"sha256:{artifact.sha256}") for artifact in made):
                return run
    return None


def _layout_source(package: Run | None) -> exporting.Source | None:
    if package is None:
        return None
    with suppress(RunError):
        layout = oci_layout.read(package.folder / LAYOUT_FOLDER)
        return exporting.source_of(layout, package.request["recipe"]["name"])
    return None


def find_layout(bench: Workbench, name: str) -> oci_layout.Layout:
    """The layout of a packaged image, by its name or a run that packaged one.

    Raises:
        PublishError: this home packaged no such image.
        RunError: its layout is not whole.
    """
    run = run_named(bench, name)
    package = package_of(bench, run) if run else packaging_of(bench, name)
    if package is None:
        raise PublishError(f"This home has packaged no image '{name}'.", "`edge images` lists them; `edge package RUN` makes one.")
    return oci_layout.read(package.folder / LAYOUT_FOLDER)


def find_image(bench: Workbench, name: str) -> tuple[str, Image]:
    """The packaged image that `name` means: a reference, or a run that packaged one."""
    engine = bench.image_engine()
    run = run_named(bench, name)
    wanted = _image_of(bench, run) if run else name
    image = engine.find(wanted) if wanted else None
    if image is None or image.labels.get(f"{LABEL}.kind") != "image":
        raise PublishError(f"There is no packaged image '{name}' in the engine.", "`edge images` lists them; `edge package RUN` makes one.")
    return wanted, image


def chat_target(bench: Workbench, name: str) -> ChatTarget:
    """Whom to talk to.

    Raises:
        ChatError: nothing packaged has this name.
    """
    run = run_named(bench, name)
    package = package_of(bench, run) if run else None
    if run and package is None:
        raise ChatError(f"Run {run.id} is not packaged yet.", f"`edge package {run.id}` first.")
    if package:
        options = package.request["steps"][0]["options"]
        if options["engine"] == "local":
            return _local_target(bench, package)
        return _image_target(bench, options["tag"])
    return _image_target(bench, name)


def _image_target(bench: Workbench, name: str) -> ChatTarget:
    engine = bench.image_engine()
    image = engine.find(name)
    if image is None or image.labels.get(f"{LABEL}.kind") != "image":
        raise ChatError(f"There is no packaged image '{name}' in the engine.", "`edge images` lists them; `edge package RUN` makes one.")
    made_for = image.labels.get(f"{LABEL}.device", "")
    adapters = tuple(filter(None, image.labels.get(f"{LABEL}.adapters", "").split(",")))
    numbers = [int(image.labels.get(f"{LABEL}.{key}") or 0) for key in ("max_length", "memory_mb")]
    has_base = image.labels.get(f"{LABEL}.base", "") != "no"
    return ChatTarget(engine, name, image.id, _limits(bench, made_for), made_for, adapters, *numbers, has_base)


def _local_target(bench: Workbench, package: Run) -> ChatTarget:
    """A plain process of this machine: no limits are set on it."""
    folder = packaging.content_folder(package)
    try:
        config = json.loads((folder / "device.json").read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise ChatError(f"The packaged folder {folder} cannot be read: {exc}.", "`edge package` its build again.") from exc
    needed = config.get("needed_mb", config.get("memory_mb", 0))  # folders of before there was one name what is needed so
    numbers = [int(config.get("max_length", 0)), int(needed)]
    told = (config["device"], tuple(sorted(config["adapters"])), *numbers, content.has_base(config))
    return ChatTarget(bench.local_chat(), package.id, str(folder), Limits(), *told)


def _limits(bench: Workbench, name: str) -> Limits:
    known = device.catalogue(bench.settings.devices).get(name)
    return Limits(known.memory_mb, known.cpus) if known else Limits()


def run_named(bench: Workbench, name: str) -> Run | None:
    """The run that a name means; None where it is an image's, or nobody's."""
    if "/" in name or ":" in name:
        return None
    try:
        return bench.run(name)
    except RunMissing:
        return None


def package_of(bench: Workbench, run: Run) -> Run | None:
    """The run itself where it packaged something, the packaging of what it published, else the newest finished one of that build."""
    if run.kind == "package":
        return run if run.state().status == "finished" else None
    if run.kind == "publish":
        options = run.request["steps"][0]["options"]
        return packaging_of(bench, options["image_id"]) or (run_named(bench, options["package"]) if options.get("package") else None)
    fitting = [r for r in _packagings(bench) if r.request["steps"][0]["options"]["build"] == run.id]
    return next((r for r in reversed(fitting) if r.state().status == "finished"), None)


def _packagings(bench: Workbench) -> Iterator[Run]:
    """Packaging runs, oldest first; those that cannot be read are left out, `edge runs` names them."""
    for run in bench.runs():
        with suppress(RunError):
            if run.kind == "package":
                yield run


def _image_of(bench: Workbench, run: Run) -> str:
    package = package_of(bench, run)
    return package.request["steps"][0]["options"]["tag"] if package else ""


def packaged(bench: Workbench) -> list[Packaged]:
    """Everything packaged, this home's first; without an engine there are only the local folders."""
    known = stock(bench)
    if known.problem and not isinstance(known.problem, EngineMissing):
        raise known.problem
    return [
        Packaged(
            item.reference,
            item.device,
            item.recipe,
            ",".join(item.adapters),
            item.bytes,
            item.build,
            item.identity or "local folder",
            item.is_strange,
            item.untried,
        )
        for item in known.items
    ]
