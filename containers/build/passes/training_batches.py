"""Which rows each step learns from, and how they are laid into tensors: padded beside each other, or packed end to end."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from rows import Tokens

from passes.training_job import Training

STEPS_SORTED_TOGETHER = 16
"""Rows of so many steps are sorted by length together, so that rows of a step are of like length and little is padded."""


@dataclass(frozen=True)
class Batch:
    """Rows as tensors. No attention mask: padding stands behind a row, where causal attention never looks."""

    ids: torch.Tensor
    positions: torch.Tensor | None
    """Where rows are packed: counted anew from each row's start. The model keeps packed rows apart by them."""
    predicting: torch.Tensor
    """Places in the flattened sequences whose next token has a loss."""
    targets: torch.Tensor
    """Those next tokens."""

    def to(self, device: torch.device) -> Batch:
        moved = [None if one is None else one.to(device, non_blocking=True) for one in vars(self).values()]
        return Batch(*moved)


def counted(row: Tokens) -> int:
    """Tokens of a row that have a loss: those from the answer on, but never the first, which nothing comes before."""
    return max(0, len(row.ids) - max(1, row.answer_from))


def plan(lengths: Sequence[int], training: Training) -> list[list[int]]:
    """The rows of every step, the longest first: a pure function of lengths, seed and options, so that a resumed training goes on with it."""
    steps: list[list[int]] = []
    total = training.steps(len(lengths))
    while len(steps) < total:
        epoch = len(steps) // training.steps_per_epoch(len(lengths))
        steps += _epoch(lengths, training.step_rows, random.Random(f"{training.seed} {epoch}"))
    return steps[:total]


def _epoch(lengths: Sequence[int], step_rows: int, chance: random.Random) -> list[list[int]]:
    order = list(range(len(lengths)))
    chance.shuffle(order)
    steps = []
    for start in range(0, len(order), step_rows * STEPS_SORTED_TOGETHER):
        near = sorted(order[start : start + step_rows * STEPS_SORTED_TOGETHER], key=lambda row: -lengths[row])
        steps += [near[at : at + step_rows] for at in range(0, len(near), step_rows)]
    chance.shuffle(steps)
    return steps


def pieces(rows: Sequence[int], micro_batch: int, process: int = 0, processes: int = 1) -> Iterator[list[int]]:
    """The part of a step's rows that one process works on, in pieces that fit its memory."""
    own = list(rows)[process::processes]
    for start in range(0, len(own), micro_batch):
        yield own[start : start + micro_batch]


def batch_of(rows: Sequence[Tokens], is_packed: bool, pads_with: int = 0) -> Batch:
    """Rows as tensors."""
    width = max(len(row.ids) for row in rows)
    starts, predicting, targets = [], [], []
    start = 0
    for row in rows:
        starts.append(start)
        first = max(1, row.answer_from)
        predicting += range(start + first - 1, start + len(row.ids) - 1)
        targets += row.ids[first:]
        start += len(row.ids) if is_packed else width
    ids = [row.ids if is_packed else row.ids + [pads_with] * (width - len(row.ids)) for row in rows]
    positions = torch.tensor([[place for row in rows for place in range(len(row.ids))]]) if is_packed else None
    laid = torch.tensor([[token for row in ids for token in row]] if is_packed else ids)
    return Batch(laid, positions, torch.tensor(predicting), torch.tensor(targets))
