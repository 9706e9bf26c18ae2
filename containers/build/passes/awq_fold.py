"""Fold and round a whole model, layer by layer, from one folder to another. Needs no Olive.

Each layer is fed by the rounded layers before it. A few rows of the calibration text are held out: on them every layer, and the
whole model at the end, is held against plain rounding, which is taken wherever it is better.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from step_io import StepError
from torch import nn

from passes.awq_search import fold_layer
from passes.gpu_room import Room, room_for
from passes.grid import Grid
from passes.held_out import HeldOut, Judgement
from passes.layer_inputs import Effort, Stream
from passes.layer_shelf import LayerShelf

HELD_OUT_EVERY = 9
"""One calibration row in so many is held out, up to HELD_OUT_TOKENS."""
HELD_OUT_TOKENS = 4096

Tell = Callable[[int, int, dict[str, float]], None]
"""Called after each layer with its number, how many there are, and what was measured."""


@dataclass(frozen=True)
class FoldReport:
    """What became of the model."""

    layers: int
    plain_layers: int
    """Layers for which plain rounding was better on the held-out rows."""
    judgement: Judgement
    gpu_bytes: int
    """The most that was in use on the GPU; 0 on a processor."""

    @property
    def is_plain(self) -> bool:
        """The search lost to plain rounding as a whole, so the model was rounded plainly."""
        return self.judgement.is_plain_better

    def as_metrics(self) -> dict[str, float]:
        """The perplexity of what was kept stands as the found one's, or as plain rounding's where that was taken."""
        judged = self.judgement
        gpu = {"gpu_bytes_peak": self.gpu_bytes} if self.gpu_bytes else {}
        return {
            "layers_rounded_plainly": self.layers if self.is_plain else self.plain_layers,
            "perplexity_float": judged.perplexity_float,
            "perplexity_plain": judged.perplexity_plain,
            "perplexity_kept": judged.perplexity_plain if self.is_plain else judged.perplexity_found,
            "divergence_plain": judged.divergence_plain,
            "divergence_kept": judged.divergence_plain if self.is_plain else judged.divergence_found,
            **gpu,
        }


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def fold_and_round(
    source: Path, target: Path, ids: torch.Tensor, grid: Grid, tell: Tell, keep: tuple[str, ...] = (), device: torch.device | None = None
) -> FoldReport:
    """Search, fold and round the model in `source` with calibration rows of equal length; the new weights go to `target`.

    Parts named in `keep` stay floats.

    Raises:
        StepError: unknown or damaged model, too few rows, no room on the GPU, or a GPU that went away.
    """
    device = device or best_device()
    shelf = LayerShelf(source, target, device, keep)
    shelf.checkpoint.refuse_broken_weights()
    searched, held_out = split_rows(ids)
    effort = replace(Effort.on(device), batch_tokens=room_for(shelf.config, searched, held_out, device))
    torch.set_float32_matmul_precision("high")
    with Room.watched(device) as room:
        plain_layers, judge = _fold_all(shelf, searched, held_out, grid, effort, tell)
        report = FoldReport(shelf.total, plain_layers, _sane(judge.judge(shelf)), room.most_bytes())
        if report.is_plain:
            _round_all(shelf, grid)
        shelf.finish()
    return report


@torch.no_grad()
def round_plainly(source: Path, target: Path, grid: Grid, tell: Tell, keep: tuple[str, ...] = ()) -> None:
    """Round every linear layer of the decoder to the nearest point of the grid, those in `keep` left alone."""
    shelf = LayerShelf(source, target, best_device(), keep)
    shelf.checkpoint.refuse_broken_weights()
    _round_all(shelf, grid, tell)
    shelf.finish()


def split_rows(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows to search with, rows that are held out): the latter are taken from everywhere."""
    if len(ids) < 2:
        raise StepError("The calibration text gives one sequence only; a second one is needed to check the result on.", "Add text.")
    count = max(1, min(len(ids) // HELD_OUT_EVERY, HELD_OUT_TOKENS // ids.shape[1]))
    is_held_out = torch.zeros(len(ids), dtype=torch.bool)
    is_held_out[[(2 * number + 1) * len(ids) // (2 * count) for number in range(count)]] = True
    return ids[~is_held_out], ids[is_held_out]


def _sane(judgement: Judgement) -> Judgement:
    if not judgement.perplexity_float < float("inf"):
        raise StepError("The model computes no finite numbers on the calibration text.", "Try it in PyTorch: its weights may be damaged.")
    return judgement


def _fold_all(
    shelf: LayerShelf, searched: torch.Tensor, held_out: torch.Tensor, grid: Grid, effort: Effort, tell: Tell
) -> tuple[int, HeldOut]:
    stream = Stream(shelf.embedded(searched), effort.batch_tokens)
    judge = HeldOut(held_out, shelf.embedded(held_out), effort.batch_tokens)
    all_kwargs = shelf.layer_kwargs(searched.shape[1])
    plain_layers = 0
    for number, layer in shelf.layers():
        began, kwargs = time.monotonic(), all_kwargs[number]
        original = layer.state_dict()  # rounding puts new weights in the place of these; folding works on a copy
        judge.see_float(layer, kwargs)
        _round_layer(layer, shelf, number, grid)
        judge.see_plain(layer, kwargs)
        layer.load_state_dict({name: weight.clone() for name, weight in original.items()}, assign=True)
        fold_layer(layer, shelf.rounded_folds(number, layer), grid, stream, kwargs, effort)
        shelf.round_to_stored_types(number, layer)
        verdict = judge.see_found(layer, kwargs)
        if verdict.is_plain_better:
            layer.load_state_dict(original, assign=True)
            _round_layer(layer, shelf, number, grid)
            plain_layers += 1
        shelf.keep(number, layer)
        stream.pass_in_place(layer, kwargs)
        measured = {"seconds": time.monotonic() - began, "plain_error": verdict.plain_error, "found_error": verdict.kept_error}
        tell(number, shelf.total, measured)
    return plain_layers, judge


def _round_layer(layer: nn.Module, shelf: LayerShelf, number: int, grid: Grid) -> None:
    for fold in shelf.rounded_folds(number, layer):
        for linear in fold.rounded:
            linear.weight.data = grid.rounded(linear.weight.data)
    shelf.round_to_stored_types(number, layer)


def _round_all(shelf: LayerShelf, grid: Grid, tell: Tell = lambda number, total, measured: None) -> None:
    for number, layer in shelf.layers():
        _round_layer(layer, shelf, number, grid)
        shelf.keep(number, layer)
        tell(number, shelf.total, {})
