"""All that is told of one packaged image: its layers, what changed since the one before it, what a device would fetch, its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.core import packaging, publishing
from toolkit.core.image_layers import Comparison, NamedLayer, compared, layers_of, packed_bytes
from toolkit.core.stock import Packed, Stock, smoke_answers
from toolkit.core.workbench import Workbench


@dataclass(frozen=True)
class Card:
    """One packaged image."""

    item: Packed
    layers: tuple[NamedLayer, ...]
    """Base first; a folder has those that its image would have above the runtime, without ids."""
    comparison: Comparison | None = None
    """Beside the image before it; None: it is the first."""
    packed: int | None = None
    """Bytes of all its layers as a registry stores them; None: not pushed from here yet."""
    pulled_packed: int | None = None
    """Bytes that a device with the earlier image fetches, as a registry stores them; None as above."""
    answers: dict[str, str] = field(default_factory=dict)
    """What it answered when it was packaged, by model."""


def card(bench: Workbench, known: Stock, item: Packed, since: Packed | None = None) -> Card:
    """Raises EngineMissing where the engine does not answer."""
    answers = smoke_answers(bench, item)
    if item.is_folder:
        return Card(item, _folder_layers(bench, item), answers=answers)
    engine = bench.image_engine()
    layers = layers_of(engine, item.identity)
    earlier = since or known.before(item)
    comparison = compared(layers, layers_of(engine, earlier.identity), earlier.reference) if earlier else None
    stored = publishing.stored_sizes(bench.runs())
    return Card(item, layers, comparison, packed_bytes(layers, stored), _pulled(comparison, stored), answers)


def _pulled(comparison: Comparison | None, stored: dict[str, int]) -> int | None:
    return packed_bytes(comparison.pulled, stored) if comparison else None


def _folder_layers(bench: Workbench, item: Packed) -> tuple[NamedLayer, ...]:
    made: Sequence = packaging.image_layers(packaging.content_folder(bench.run(item.reference)))
    return tuple(NamedLayer(layer.name, layer.name.partition(" ")[0], sum(file.size for file in layer.files), "") for layer in made)
