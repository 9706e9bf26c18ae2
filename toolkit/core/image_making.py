"""From layers to an image: an OCI layout on disk, then the engine takes it from there. The model is written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core import oci_layout
from toolkit.core.big_file import in_chunks
from toolkit.core.engine import LABEL, Image, ImageEngine
from toolkit.core.files import as_size, free_bytes
from toolkit.core.image_archive import archive_of
from toolkit.core.layers import Layer, base_names, diff_id, image_config, layer_name, layer_tar
from toolkit.core.oci_layout import Blobs, Layout, StoredLayer
from toolkit.core.saved_image import take_in
from toolkit.errors import DiskError, EngineError

MOST_PARTS = 24
"""An event tells of no more layers than this."""
LAYOUT_FOLDER = "image"
"""In a packaging run's folder."""

Progress = Callable[[float, float, str, str, dict[str, list[float]]], None]


@dataclass(frozen=True)
class Wanted:
    """The image that is to be made."""

    base: Image
    layers: Sequence[Layer]
    labels: Mapping[str, str]
    tag: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of its manifest; an engine that pushes makes a manifest of its own, without them."""


@dataclass
class Told:
    """Says how far it is: every byte goes to the disk, then to the engine."""

    names: Sequence[str]
    sizes: Sequence[int]
    """Of the layers, base first."""
    progress: Progress
    written: int = 0
    """Bytes of blobs that were really written; the others were linked."""
    loaded: int = 0
    """Bytes that went to the engine."""
    _parts: dict[str, list[float]] = field(default_factory=dict)

    def layer(self, number: int, done: int) -> None:
        """So many bytes of one layer lie on the disk."""
        self._parts[self.names[number]] = [done, self.sizes[number]]
        before = sum(self.sizes[:number])
        shown = dict(list(self._parts.items())[-MOST_PARTS:])
        self.progress(before + done, 2 * sum(self.sizes), "bytes", f"writing {self.names[number]}", shown)

    def load(self, left: int) -> None:
        """So many bytes are still to go into the engine."""
        total = 2 * sum(self.sizes)
        self.progress(max(0, total - left), total, "bytes", "the engine takes it in", {})


def earlier_blobs(runs: Path) -> dict[str, Path]:
    """The blobs of every packaging run of this home, by digest."""
    return oci_layout.blobs_of(sorted(runs.glob(f"*/{LAYOUT_FOLDER}")))


def lay_out(folder: Path, engine: ImageEngine, wanted: Wanted, shared: dict[str, Path], told: Told) -> Layout:
    """Write the image as a layout, the runtime's layers included. Blobs that are there already are linked.

    Raises:
        DiskError: it does not fit.
        EngineError: the engine does not give the runtime's layers, or a file changed meanwhile.
    """
    blobs = Blobs(folder, shared)
    _check_room(folder, engine, wanted, blobs)
    stored = [*_base_layers(engine, wanted.base, blobs, told)]
    known_sizes = blobs.sizes()
    for layer in wanted.layers:
        number = len(stored)
        size = layer.size
        digest = diff_id(layer) if size in known_sizes else ""
        if not digest or not blobs.has(digest):
            digest = blobs.write(layer_tar(layer), size, lambda done, number=number: told.layer(number, done))
        told.layer(number, size)
        stored.append(StoredLayer(layer.name, digest, size))
    told.written = blobs.added
    own = [(layer.name, layer.digest) for layer in stored[len(wanted.base.layers) :]]
    return oci_layout.finish(folder, blobs, wanted.tag, image_config(wanted.base, own, wanted.labels), stored, wanted.annotations)


def _base_layers(engine: ImageEngine, base: Image, blobs: Blobs, told: Told) -> list[StoredLayer]:
    missing = [digest for digest in base.layers if not blobs.has(digest)]
    if missing:
        saved = take_in(engine.save(base.id), blobs, lambda done: told.layer(0, min(done, told.sizes[0])))
        if saved.layers != base.layers:
            raise EngineError(f"The engine saved other layers than those of {base.id}.", "`edge doctor` looks at the engine.")
    sizes = [blobs.path(digest).stat().st_size for digest in base.layers]
    told.sizes = [*sizes, *told.sizes[len(base.layers) :]]
    names = map(layer_name, base_names(base))
    return [StoredLayer(*layer) for layer in zip(names, base.layers, sizes, strict=True)]


def _check_room(folder: Path, engine: ImageEngine, wanted: Wanted, blobs: Blobs) -> None:
    """What is new must fit; the engine unpacks into its own folder, and needs the room twice while it does."""
    known = blobs.sizes()
    new = sum(layer.size for layer in wanted.layers if layer.size not in known)
    base = 0 if all(blobs.has(digest) for digest in wanted.base.layers) else wanted.base.bytes
    root = Path(engine.facts().root)
    needed = base + new + (2 * new if _is_same_disk(folder, root) else 0)
    if needed > free_bytes(folder):
        raise DiskError(
            f"The image takes {as_size(needed)} while it is made; {as_size(free_bytes(folder))} are free in {folder.parent}.",
            "`edge clean` shows what can go; then resume the run.",
        )


def _is_same_disk(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False  # an engine on another machine, or in a place that is not ours to see


def load(engine: ImageEngine, layout: Layout, base: Image, told: Told) -> Image:
    """Stream the layers that the engine lacks into it. One that wants them all, known or not, gets them in a second try.

    Raises:
        EngineError: it did not take them, or holds another image than the layout's.
    """
    try:
        _stream(engine, layout, _known(engine, layout, base), told)
    except EngineError as exc:
        if "no space left" in exc.message:
            raise
        _stream(engine, layout, set(), told)
    packed = engine.find(layout.tag)
    if packed is None or packed.id not in (layout.config, layout.manifest):
        raise EngineError(
            f"The engine took {layout.tag} but holds {packed.id if packed else 'nothing'} instead of {layout.config}.",
            "`edge doctor` looks at the engine.",
        )
    return packed


def _stream(engine: ImageEngine, layout: Layout, known: set[str], told: Told) -> None:
    archive = archive_of(layout, known)
    told.loaded = 0

    def counted():
        for chunk in in_chunks(archive.pieces()):
            yield chunk
            told.loaded += len(chunk)
            told.load(archive.bytes - told.loaded)

    engine.load(counted())


def _known(engine: ImageEngine, layout: Layout, base: Image) -> set[str]:
    """Layers that the engine has below the first that it lacks: it knows a layer only by all that lie below it."""
    chains = [base.layers, *(image.layers for image in engine.images(f"{LABEL}.kind=image"))]
    return set(layout.diff_ids[: max(in_common(layout.diff_ids, chain) for chain in chains)])


def in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many layers two images have in common, from the base on."""
    return next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other)))
