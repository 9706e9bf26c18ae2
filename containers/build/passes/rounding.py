"""Weights of a projection as MatMulNBits stores them: codes in blocks of inputs, each block with a scale and a zero point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from passes.grid import Grid, row_chunks
from passes.grid_file import Points

_BOTH_SHRINKS = [1 - step / 40 for step in range(13)]
_ONE_SHRINKS = [1 - step / 40 for step in range(1, 9)]
"""Candidates for the ends of a block's grid, as parts of its range: both ends alike, then either end alone."""

_OFF_GRID = 0.2
"""A weight further than this from its point, in steps of the grid, does not lie on it; 16-bit floats move it by less."""


@dataclass(frozen=True)
class Rounded:
    """A rounded projection."""

    codes: np.ndarray
    """`[out, blocks, bytes]`, two codes a byte where they have 4 bits, the first in the low half."""
    scales: np.ndarray
    """`[out, blocks]`, float32."""
    zeros: np.ndarray | None
    """`[out, bytes]`, packed likewise; None on a symmetric grid."""


def rounded(weight: torch.Tensor, grid: Grid, points: Points | None = None, is_searched: bool = False) -> Rounded:
    """`[out, in]` rounded: on the given points, else on plain or searched bounds of each block.

    Raises:
        ValueError: points are given, and the weights do not lie on them.
    """
    parts = []
    for rows in row_chunks(weight):
        groups = grid.grouped(weight[rows].float())
        scale, zero = _points(groups, grid, is_searched) if points is None else _given(points, rows, groups.device)
        exact = groups / scale + zero
        codes = exact.round().clamp(0, grid.top)
        if points is not None and (codes - exact).abs().max() > _OFF_GRID:
            raise ValueError("do not lie on the grid that was kept beside them")
        parts.append((packed(codes, grid.bits), scale.squeeze(-1).cpu().numpy(), packed(zero.squeeze(-1), grid.bits)))
    codes, scales, zeros = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Rounded(codes, scales, None if grid.symmetric else zeros)


def _points(groups: torch.Tensor, grid: Grid, is_searched: bool) -> Points:
    low, high = grid.bounds(groups)
    return grid.scale_and_zero(*(_searched(groups, low, high, grid) if is_searched else (low, high)))


def _given(points: Points, rows: slice, device: torch.device) -> Points:
    scale, zero = (part[rows].to(device, torch.float32).unsqueeze(-1) for part in points)
    return scale, zero


def packed(codes: torch.Tensor, bits: int) -> np.ndarray:
    """Codes as bytes, along the last dimension; an odd number of 4-bit codes leaves half a byte."""
    whole = codes.to(torch.uint8)
    if bits == 8:
        return whole.cpu().numpy()
    even = torch.nn.functional.pad(whole, (0, whole.shape[-1] % 2))
    return (even[..., ::2] | even[..., 1::2] << 4).cpu().numpy()


def _searched(groups: torch.Tensor, low: torch.Tensor, high: torch.Tensor, grid: Grid) -> Points:
    """The bounds of each block that lose least, large weights counting more."""
    importance = groups.abs() + groups.square().mean(-1, keepdim=True).sqrt()

    def loss(of_low: torch.Tensor, of_high: torch.Tensor) -> torch.Tensor:
        return (grid.snapped(groups, of_low, of_high) - groups).square_().mul_(importance).sum(-1, keepdim=True)

    best = (loss(low, high), low, high)
    for shrink in _BOTH_SHRINKS[1:]:
        best = _better(best, loss, low * shrink, high * shrink)
    middle_low, middle_high = best[1:]
    for shrink in () if grid.symmetric else _ONE_SHRINKS:
        best = _better(best, loss, middle_low * shrink, middle_high)
        best = _better(best, loss, middle_low, middle_high * shrink)
    return best[1:]


def _better(best, loss, low: torch.Tensor, high: torch.Tensor):
    """Block by block, the better of the best so far and these bounds."""
    found = loss(low, high)
    is_better = found < best[0]
    return tuple(torch.where(is_better, new, old) for new, old in zip((found, low, high), best, strict=True))
