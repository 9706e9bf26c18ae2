"""The search for bounds: each group of weights gives up its largest ones where the others gain more by a finer grid."""

from __future__ import annotations

import torch

from passes.grid import Grid, row_chunks

BOTH_SHRINKS = [1 - step / 20 for step in range(11)]
ONE_SHRINKS = [1 - step / 20 for step in range(1, 6)]
"""Candidates for the bounds, as parts of a group's range: first both ends alike, then either end alone."""


def bounded_and_rounded(weight: torch.Tensor, blocks: torch.Tensor, grid: Grid, first_bounded_row: int = 0) -> torch.Tensor:
    """The weight on the grid, each group's grid spanning the bounds that lose least of the group's own output.

    `blocks` are the second moments of each group's inputs, `[groups, group_size, group_size]`. Rows before
    `first_bounded_row` are rounded plainly.
    """
    made = torch.empty_like(weight)
    made[:first_bounded_row] = grid.rounded(weight[:first_bounded_row])
    searched = weight[first_bounded_row:]
    for rows in row_chunks(searched):
        groups = grid.grouped(searched[rows]).transpose(0, 1).contiguous()
        on_grid = grid.snapped(groups, *best_bounds(groups, blocks, grid))
        made[first_bounded_row:][rows] = on_grid.transpose(0, 1).flatten(1)[:, : weight.shape[1]]
    return made


def best_bounds(groups: torch.Tensor, blocks: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """For each group (`[groups, rows, group_size]`) the bounds with the least error; only less error replaces the plain ones."""

    def error(of_low: torch.Tensor, of_high: torch.Tensor) -> torch.Tensor:
        lost = grid.snapped(groups, of_low, of_high).sub_(groups)
        return torch.bmm(lost, blocks).mul_(lost).sum(-1, keepdim=True)

    def keep_better(of_low: torch.Tensor, of_high: torch.Tensor) -> None:
        nonlocal best, best_low, best_high
        found = error(of_low, of_high)
        is_better = found < best
        best = torch.where(is_better, found, best)
        best_low = torch.where(is_better, of_low, best_low)
        best_high = torch.where(is_better, of_high, best_high)

    low, high = grid.bounds(groups)
    best, best_low, best_high = error(low, high), low, high
    for shrink in BOTH_SHRINKS[1:]:
        keep_better(low * shrink, high * shrink)
    if not grid.symmetric:
        near_low, near_high = best_low, best_high
        for shrink in ONE_SHRINKS:
            keep_better(near_low * shrink, near_high)
        for shrink in ONE_SHRINKS:
            keep_better(near_low, near_high * shrink)
    return best_low, best_high
