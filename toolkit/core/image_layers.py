"""The layers of a packaged image by name and size, and what changed since another one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.core.engine import ImageEngine, ImageLayer
from toolkit.core.files import as_size
from toolkit.core.layers import MADE_BY_US, RUNTIME, layer_name
from toolkit.core.oci_layout import Layout

GROUPS = ("runtime", "model", "adapter", "configuration", "other")


@dataclass(frozen=True)
class NamedLayer:
    """A layer as a person knows it."""

    name: str
    """runtime 1 (or python, packages, server, where the runtime says so), model, adapter travel, configuration; each once in an image."""
    group: str
    bytes: int
    """Bytes of its files, unpacked."""
    diff_id: str

    @property
    def short(self) -> str:
        return short_id(self.diff_id)


def short_id(digest: str) -> str:
    """Its first twelve digits, as engines show it."""
    return digest.removeprefix("sha256:")[:12]


def layers_of(engine: ImageEngine, reference: str) -> tuple[NamedLayer, ...]:
    """The layers of an image, base first; none where the image is not there."""
    return _named(engine.layers(reference))


def layers_in(layout: Layout) -> tuple[NamedLayer, ...]:
    """The layers of a layout, base first, named as the engine's are. Their bytes are those of their files and a little more, for the tar."""
    history = json.loads(layout.blob(layout.config).read_bytes()).get("history", [])
    made_by = [str(entry.get("created_by", "")) for entry in history if not entry.get("empty_layer")]
    if len(made_by) != len(layout.layers):
        made_by = [f"{MADE_BY_US}{layer.name}" for layer in layout.layers]
    return _named([ImageLayer(layer.digest, layer.size, made) for layer, made in zip(layout.layers, made_by, strict=True)])


def _named(found: Sequence[ImageLayer]) -> tuple[NamedLayer, ...]:
    runtimes = sum(layer.made_by == RUNTIME for layer in found)
    named, number = [], 0
    for place, layer in enumerate(found):
        group = _group(layer)
        number += group == RUNTIME
        name = f"layer {place + 1}" if group == "other" else layer_name(layer.made_by)
        if layer.made_by == RUNTIME and runtimes > 1:
            name = f"{RUNTIME} {number}"
        named.append(NamedLayer(name, group, layer.bytes, layer.diff_id))
    return tuple(named)


def _group(layer: ImageLayer) -> str:
    if layer.made_by == RUNTIME or layer.made_by.startswith(f"{RUNTIME}: "):
        return RUNTIME
    kind = layer.made_by.removeprefix(MADE_BY_US).partition(" ")[0] if layer.made_by.startswith(MADE_BY_US) else ""
    return kind if kind in GROUPS else "other"


@dataclass(frozen=True)
class ChangedLayer:
    """A layer beside the same image's earlier state."""

    layer: NamedLayer
    is_new: bool
    """The earlier image has no layer with this content."""
    is_pulled: bool
    """A device with the earlier image fetches it: engines keep a layer only on the very layers it was on before."""


@dataclass(frozen=True)
class Comparison:
    """An image beside an earlier one."""

    since: str
    """Reference of the earlier image."""
    layers: tuple[ChangedLayer, ...]
    gone: tuple[NamedLayer, ...] = ()
    """Layers that only the earlier image has."""

    @property
    def new_bytes(self) -> int:
        """Bytes of layers with new content: what a push moves at most, unpacked."""
        return sum(change.layer.bytes for change in self.layers if change.is_new)

    @property
    def kept_bytes(self) -> int:
        return sum(change.layer.bytes for change in self.layers if not change.is_new)

    @property
    def pulled(self) -> tuple[NamedLayer, ...]:
        """What a device that has the earlier image fetches: everything from the first changed layer on."""
        return tuple(change.layer for change in self.layers if change.is_pulled)

    @property
    def pulled_bytes(self) -> int:
        return sum(layer.bytes for layer in self.pulled)


def compared(layers: Sequence[NamedLayer], earlier: Sequence[NamedLayer], since: str) -> Comparison:
    """What changed. A device's engine keeps the layers up to the first that differs; those above it are fetched again."""
    known, own = {layer.diff_id for layer in earlier}, {layer.diff_id for layer in layers}
    same = 0
    while same < min(len(layers), len(earlier)) and layers[same].diff_id == earlier[same].diff_id:
        same += 1
    changed = tuple(ChangedLayer(layer, layer.diff_id not in known, place >= same) for place, layer in enumerate(layers))
    return Comparison(since, changed, tuple(layer for layer in earlier if layer.diff_id not in own))


def packed_bytes(layers: Sequence[NamedLayer], stored: dict[str, int]) -> int | None:
    """Bytes of the layers as a registry stores them; None where one was never pushed from here."""
    sizes = [stored.get(layer.diff_id) for layer in layers]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def signs(comparison: Comparison) -> dict[str, str]:
    """A word for each layer, by diff id: kept, new, or kept but fetched again."""
    return {change.layer.diff_id: _sign(change) for change in comparison.layers}


def _sign(change: ChangedLayer) -> str:
    if change.is_new:
        return "new"
    return "again" if change.is_pulled else "kept"


def in_words(comparison: Comparison, pulled_packed: int | None) -> str:
    """What changed and what a device would fetch, for people."""
    new = [change.layer.name for change in comparison.layers if change.is_new]
    again = [change.layer.name for change in comparison.layers if change.is_pulled and not change.is_new]
    unpacked = as_size(comparison.pulled_bytes)
    size = f"up to {unpacked}" if pulled_packed is None else f"{as_size(pulled_packed)} packed, {unpacked} unpacked"
    lines = [
        f"Since {comparison.since}: {'new ' + ', '.join(new) if new else 'the same layers'}"
        f" ({as_size(comparison.new_bytes)}); {as_size(comparison.kept_bytes)} kept.",
        f"A device with that image pulls {size}." if comparison.pulled else "A device with that image pulls nothing.",
    ]
    if again:
        lines.append(f"That is with {', '.join(again)}: unchanged, but above what changed, so Docker's classic store fetches it again.")
    return "\n".join(lines)
