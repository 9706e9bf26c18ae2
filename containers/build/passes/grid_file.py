"""What lies beside weights that are on a grid: which grid, and where its points are if the weights alone do not tell.

Rounding to the nearest point leaves the lowest and the highest value of a group on the ends of its grid, so rounding
again finds the same grid. GPTQ does not: it moves weights after it has chosen the grid. Its scales and zero points
are kept, and the exporter takes them instead of looking for them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from passes.grid import Grid

GRID_FILE = "grid.json"
POINTS_FILE = "grid.npz"

Points = tuple[torch.Tensor, torch.Tensor]
"""Scale and zero point of each group of a linear layer: `[out, groups]`."""


def write_grid(folder: Path, grid: Grid, points: dict[str, Points]) -> None:
    """Note the grid, and the points of each linear layer by its name in the model."""
    (folder / GRID_FILE).write_text(json.dumps(asdict(grid)), encoding="utf-8")
    scales = {f"{name}.scale": scale.float().numpy() for name, (scale, _) in points.items()}
    zeros = {f"{name}.zero": zero.to(torch.uint8).numpy() for name, (_, zero) in points.items()}
    np.savez(folder / POINTS_FILE, **scales, **zeros)


def read_points(folder: Path) -> dict[str, Points]:
    """The points of each linear layer; empty where the weights tell them."""
    path = folder / POINTS_FILE
    if not path.exists():
        return {}
    with np.load(path) as kept:
        names = [name.removesuffix(".scale") for name in kept.files if name.endswith(".scale")]
        return {name: (torch.from_numpy(kept[f"{name}.scale"]), torch.from_numpy(kept[f"{name}.zero"])) for name in names}
