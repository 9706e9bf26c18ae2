"""An image as one file, for a device without network: saved by a run, so that a dropped connection does not matter."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core import oci_layout
from toolkit.core.big_file import write_hashed
from toolkit.core.engine import Image, ImageEngine
from toolkit.core.files import as_size, free_bytes
from toolkit.core.image_archive import Held, archive_of
from toolkit.core.image_making import LAYOUT_FOLDER, in_common
from toolkit.core.layers import layer_name
from toolkit.core.oci_layout import Blobs, Layout, StoredLayer
from toolkit.core.saved_image import take_in
from toolkit.errors import DiskError, PublishError, RunError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

TAR_SHARE = 0.05
"""What headers and padding may add to the bytes of the files."""


@dataclass(frozen=True)
class Source:
    """An image that can be exported: from its layout, which needs no engine, or else from the engine."""

    name: str
    identity: str
    recipe: str
    layers: tuple[StoredLayer, ...]
    """Base first. Of an engine's image, bytes of their files."""
    layout: Path | None = None

    @property
    def held(self) -> Held:
        return Held(self.name, self.identity, tuple(layer.digest for layer in self.layers))


@dataclass(frozen=True)
class ExportPlan:
    """What a file will hold."""

    source: Source
    bytes: int
    """Of the file; where it comes from the engine, about."""
    left_out: tuple[StoredLayer, ...] = ()
    """Layers that the device has."""
    since: str = ""
    """The image that the device has; empty: the file is whole."""

    @property
    def held(self) -> tuple[StoredLayer, ...]:
        """Layers in the file."""
        return self.source.layers[len(self.left_out) :]


def plan(source: Source, since: Held | None = None) -> ExportPlan:
    """What a file of this image will hold; for a device that has the image `since`, the layers from the first that differs on.

    Raises:
        PublishError: the two are the same image, or have no layer in common.
    """
    common = in_common(source.held.layers, since.layers) if since else 0
    if since and source.identity == since.identity:
        raise PublishError(
            f"{source.name} is the very image {since.name}: there is nothing to export.", "A device that has it needs no file."
        )
    if since and not common:
        raise PublishError(f"{source.name} has no layer in common with {since.name}.", "Export it whole, without --since.")
    left_out, name = source.layers[:common], since.name if since else ""
    if source.layout:
        layout = oci_layout.read(source.layout, source.name)
        return ExportPlan(source, archive_of(layout, {layer.digest for layer in left_out}, name).bytes, left_out, name)
    size = sum(layer.size for layer in source.layers[common:])
    return ExportPlan(source, int(size * (1 + TAR_SHARE)), left_out, name)


def request(planned: ExportPlan, file: Path, overwrite: bool) -> dict:
    """What an exporting run is asked.

    Raises:
        PublishError: nothing can be written there, or something is there already.
        DiskError: it does not fit.
    """
    check_file(file, overwrite)
    source, free = planned.source, free_bytes(file.parent)
    if free < planned.bytes:
        raise DiskError(
            f"{source.name} takes {as_size(planned.bytes)}; {file.parent} has {as_size(free)} free.",
            "Choose another disk, or make room there.",
        )
    options = {
        "image": source.name,
        "image_id": source.identity,
        "bytes": planned.bytes,
        "file": str(file),
        "overwrite": overwrite,
        "layout": str(source.layout or ""),
        "since": planned.since,
        "left_out": [layer.digest for layer in planned.left_out],
    }
    steps = [{"name": "save", "kind": "save", "options": options, "inputs": {}}]
    return {"engine": "docker", "recipe": {"name": source.recipe}, "steps": steps}


def file_for(source: str, wanted: str, folder: Path, since: str = "") -> Path:
    """The file that `wanted` means: relative to `folder`, and with a name of its own where it is a folder."""
    path = folder / Path(wanted).expanduser()
    return path / default_name(source, since) if path.is_dir() or wanted.endswith("/") else path


def default_name(source: str, since: str = "") -> str:
    """`travel-cpu-0001.tar` for `edge-toolkit/travel-cpu:0001`; `travel-cpu-0002-since-0001.tar` for a delta."""
    plain = source.rpartition("/")[2].replace(":", "-")
    return f"{plain}-since-{since.rpartition('/')[2].rpartition(':')[2].removesuffix('.tar')}.tar" if since else f"{plain}.tar"


def check_file(file: Path, overwrite: bool) -> None:
    """Raises PublishError where `file` must not or cannot be written."""
    if not file.parent.is_dir():
        raise PublishError(f"There is no folder {file.parent}.", "Make it, or choose another.")
    if not os.access(file.parent, os.W_OK):
        raise PublishError(f"{file.parent} may not be written to.", "Choose another folder.")
    if file.exists() and not overwrite:
        raise PublishError(f"{file} is there already.", "Choose another name, or ask for it to be overwritten.")


def save(job: Job) -> dict[str, float]:
    """Write the image into FILE.part, and give it its name once it is whole and on the disk."""
    file, overwrite = Path(job.options["file"]), job.options["overwrite"]
    check_file(file, overwrite)
    own = job.run.folder / LAYOUT_FOLDER
    try:
        archive = archive_of(_layout(job, own), job.options.get("left_out", ()), job.options.get("since", ""))
        part = file.with_name(f"{file.name}.part")
        size = archive.bytes
        sha256 = write_hashed(part, archive.pieces(), size, lambda done: job.progress(done, size, "bytes", part.name))
        _give_name(part, file, overwrite)
    finally:
        shutil.rmtree(own, ignore_errors=True)
    job.left("archive", str(file), size, sha256)
    return {"bytes": size, "layers_left_out": len(job.options.get("left_out", ()))}


def _give_name(part: Path, file: Path, overwrite: bool) -> None:
    try:
        check_file(file, overwrite)
    except PublishError:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, file)


def _layout(job: Job, own: Path) -> Layout:
    """The layout that packaging left; where it is gone or never was, one made for now of what the engine holds."""
    name, identity = job.options["image"], job.options["image_id"]
    if job.options.get("layout"):
        try:
            layout = oci_layout.read(Path(job.options["layout"]), name)
        except RunError as exc:
            raise PublishError(
                f"The image {name} is not on the disk any more: {exc.message}", "Package its build again, then export."
            ) from exc
        if layout.config != identity:
            raise PublishError(f"{layout.folder} holds another image by now than {name}.", "Export again.")
        return layout
    return _from_engine(job, own)


def _from_engine(job: Job, own: Path) -> Layout:
    engine, name, identity = job.bench.image_engine(), job.options["image"], job.options["image_id"]
    if engine.find(identity) is None:
        raise PublishError(f"The image {name} is not in the engine any more.", "Package the run again, then export.")
    expected = job.options["bytes"]
    blobs = Blobs(own)
    saved = take_in(
        engine.save(identity), blobs, lambda done: job.progress(min(done, expected), 2 * expected, "bytes", "taken from the engine")
    )
    names = [layer.name for layer in layers_in(engine, identity)]
    stored = [StoredLayer(name, digest, blobs.path(digest).stat().st_size) for name, digest in zip(names, saved.layers, strict=True)]
    return oci_layout.finish(own, blobs, name, saved.config, stored)


def layers_in(engine: ImageEngine, identity: str) -> tuple[StoredLayer, ...]:
    """The layers of an engine's image, base first."""
    return tuple(StoredLayer(layer_name(layer.made_by), layer.diff_id, layer.bytes) for layer in engine.layers(identity))


def source_of(layout: Layout, recipe: str) -> Source:
    return Source(layout.tag, layout.config, recipe, layout.layers, layout.folder)


def source_in(engine: ImageEngine, name: str, image: Image, recipe: str) -> Source:
    return Source(name, image.id, recipe, layers_in(engine, image.id))
