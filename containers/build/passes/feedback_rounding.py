"""Rounding that makes up for itself: what is lost on one column is taken off the columns not rounded yet (GPTQ's recursion).

Folding an adapter into rounded weights moves each by a small part of a step of their grid. Rounding to the nearest point would put
nearly all of them back where they were, and the adapter would be gone; here what is lost adds up until it moves a weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from passes.bounds import best_bounds
from passes.grid import Grid
from passes.grid_file import Points

DAMPING = (0.01, 0.1, 1.0)
"""Part of the mean second moment that is added to each input's; the first with which the moments can be inverted is taken."""


@dataclass(frozen=True)
class OnGrid:
    """Weights on a grid, and the grid's points, which these weights alone do not tell."""

    weight: torch.Tensor
    points: Points


def rounded_with_feedback(weight: torch.Tensor, moments: torch.Tensor, grid: Grid, first_bounded_row: int = 0) -> OnGrid:
    """`[out, in]` rounded, column by column, so that little of its output is lost.

    `moments` are the second moments of the inputs, `[in, in]`. Rows before `first_bounded_row` keep their largest weights.
    """
    left, made, size = weight.clone(), torch.empty_like(weight), grid.group_size
    feedback, scales, zeros = _feedback(moments), [], []
    for start in range(0, weight.shape[1], size):
        columns = slice(start, min(start + size, weight.shape[1]))
        scale, zero = _points(left[:, columns], moments[columns, columns], grid, first_bounded_row)
        lost = _round_columns(left[:, columns], made[:, columns], scale, zero, feedback[columns, columns], grid)
        left[:, columns.stop :] -= lost @ feedback[columns, columns.stop :]
        scales.append(scale)
        zeros.append(zero)
    return OnGrid(made, (torch.cat(scales, 1), torch.cat(zeros, 1)))


def points_of(weight: torch.Tensor, grid: Grid) -> Points:
    """The points of weights that tell their grid themselves: its ends are the ends of each group."""
    scale, zero = grid.scale_and_zero(*grid.bounds(grid.grouped(weight)))
    return scale.squeeze(-1), zero.squeeze(-1)


def _points(block: torch.Tensor, moments: torch.Tensor, grid: Grid, first_bounded_row: int) -> Points:
    """Scale and zero point, `[out, 1]`, of the group that these columns make."""
    groups = grid.grouped(block).transpose(0, 1).contiguous()
    missing = groups.shape[-1] - block.shape[1]
    low, high = grid.bounds(groups)
    bounded = groups[:, first_bounded_row:]
    low[:, first_bounded_row:], high[:, first_bounded_row:] = best_bounds(
        bounded, torch.nn.functional.pad(moments, (0, missing, 0, missing))[None], grid
    )
    scale, zero = grid.scale_and_zero(low, high)
    return scale[0], zero[0]


def _round_columns(
    left: torch.Tensor, made: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, feedback: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """Round a group's columns one after the other into `made`; what was lost on each, as those after the group are to hear of it."""
    lost = torch.empty_like(left)
    for column in range(left.shape[1]):
        value = left[:, column : column + 1]
        point = value.div(scale).round_().add_(zero).clamp_(0, grid.top).sub_(zero).mul_(scale)
        made[:, column : column + 1] = point
        lost[:, column : column + 1] = (value - point) / feedback[column, column]
        left[:, column + 1 :] -= lost[:, column : column + 1] @ feedback[column : column + 1, column + 1 :]
    return lost


def _feedback(moments: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the inverse moments: how the error of a column spreads over those after it.

    Raises:
        ValueError: the moments hold values that are no numbers.
    """
    mean = moments.diagonal().mean().clamp(min=1e-12)
    for part in DAMPING:
        damped = moments + torch.eye(len(moments), device=moments.device) * part * mean
        lower, is_bad = torch.linalg.cholesky_ex(damped)
        if not is_bad:
            return torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)
    raise ValueError("The inputs of a layer hold values that are no numbers.")
