"""What a model folder's safetensors files say they hold, from their headers alone: before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Weights:
    """The tensors of a model by name, with their shapes."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    @property
    def projections(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of the linear layers inside the blocks, by the last part of their name: what an adapter can be laid on."""
        found: dict[str, list[tuple[int, ...]]] = {}
        for name, shape in self.shapes.items():
            parts = name.split(".")
            if parts[-1] == "weight" and len(shape) == 2 and any(part.isdigit() for part in parts):
                found.setdefault(parts[-2], []).append(shape)
        return found

    def adapter_parameters(self, rank: int, targets: list[str]) -> int:
        """Weights of an adapter of this rank."""
        shapes = [shape for target in targets for shape in self.projections.get(target, ())]
        return rank * sum(rows + columns for rows, columns in shapes)


def read_weights(model: Path) -> Weights:
    """The weights of a model folder; none where it has no safetensors files."""
    files = sorted(model.glob("*.safetensors"))
    if not files:
        return Weights({})
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        with safe_open(file, framework="numpy") as opened:
            shapes |= {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 (no iterator)
    return Weights(shapes)
