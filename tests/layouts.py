"""Images of few bytes, made as packaging makes them: a layout on disk, taken into an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.core import image_making
from toolkit.core.engine import Image, ImageEngine
from toolkit.core.image_making import Told, Wanted
from toolkit.core.layers import Layer, base_names
from toolkit.core.oci_layout import Layout


def told_of(base: Image, layers: Sequence[Layer]) -> Told:
    """One that tells nobody."""
    sizes = [base.bytes, *[0] * (len(base.layers) - 1), *(layer.size for layer in layers)]
    return Told([*base_names(base), *(layer.name for layer in layers)], sizes, lambda *_: None)


def laid_out(
    folder: Path, engine: ImageEngine, base: Image, layers: Sequence[Layer], labels: Mapping[str, str], tag: str, told: Told | None = None
) -> Layout:
    """A layout beside others of the same parent, whose blobs it shares."""
    shared = image_making.earlier_blobs(folder.parent.parent)
    return image_making.lay_out(folder, engine, Wanted(base, layers, labels, tag), shared, told or told_of(base, layers))


def packed(folder: Path, engine: ImageEngine, base: Image, layers: Sequence[Layer], labels: Mapping[str, str], tag: str) -> Image:
    """An image in the engine."""
    told = told_of(base, layers)
    return image_making.load(engine, laid_out(folder, engine, base, layers, labels, tag, told), base, told)
