"""The grid that int4 weights live on after export: groups of inputs, each with a scale and a zero point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

CHUNK_WEIGHTS = {"cpu": 1 << 16, "cuda": 1 << 24}
"""Weights that are worked on together: what a core's cache holds, or enough to keep a GPU busy."""


@dataclass(frozen=True)
class Grid:
    """How weights are rounded, the way onnxruntime's MatMulNBits stores them."""

    bits: int = 4
    group_size: int = 32
    symmetric: bool = False

    @property
    def top(self) -> int:
        """The highest code; the lowest is 0."""
        return 2**self.bits - 1

    def grouped(self, weight: torch.Tensor) -> torch.Tensor:
        """`[out, in]` as `[out, groups, group_size]`, the last group filled with zeros."""
        missing = -weight.shape[1] % self.group_size
        return (functional.pad(weight, (0, missing)) if missing else weight).unflatten(1, (-1, self.group_size))

    def bounds(self, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest and highest value of each group; zero always lies between, for it must have a code."""
        low, high = groups.aminmax(dim=-1, keepdim=True)
        return low.clamp(max=0), high.clamp(min=0)

    def snapped(self, groups: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """Each value of `groups` moved to the nearest point of the grid that spans `low` to `high`."""
        scale, zero = self.scale_and_zero(low, high)
        return groups.div(scale).round_().add_(zero).clamp_(0, self.top).sub_(zero).mul_(scale)

    def scale_and_zero(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.symmetric:
            half = 2 ** (self.bits - 1)
            extreme = torch.where(high > -low, high, low)
            scale = extreme / -half
            return torch.where(scale == 0, 1.0, scale), torch.full_like(scale, half)
        scale = (high - low) / self.top
        scale = torch.where(scale == 0, 1.0, scale)
        return scale, (-low / scale).round().clamp(0, self.top)

    def rounded(self, weight: torch.Tensor, scales: torch.Tensor | None = None) -> torch.Tensor:
        """`[out, in]` rounded plainly: the grid of each group spans all of its values.

        With `scales` each column is multiplied by its own before rounding, and divided by it after.
        """
        made = torch.empty_like(weight)
        for rows in row_chunks(weight):
            part = weight[rows] if scales is None else weight[rows] * scales
            groups = self.grouped(part)
            part = self.snapped(groups, *self.bounds(groups)).flatten(1)[:, : weight.shape[1]]
            made[rows] = part if scales is None else part.div_(scales)
        return made


def row_chunks(weight: torch.Tensor) -> Iterator[slice]:
    """Slices of the rows of a matrix that are worked on together."""
    step = max(1, CHUNK_WEIGHTS[weight.device.type] // weight.shape[1])
    return (slice(start, start + step) for start in range(0, weight.shape[0], step))
