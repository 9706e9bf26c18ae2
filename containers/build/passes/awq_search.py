"""Activation-aware search, one decoder layer at a time: scales for the inputs, then bounds for the weights.

The scales make the inputs that matter larger before rounding; they are folded into whatever makes the input, so the
layer computes the same. The bounds give up a few large weights so that the others lie on a finer grid. "No scale" and
"no bound" are always among the candidates, so neither search can end above plain rounding in the error it measures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from passes.bounds import bounded_and_rounded
from passes.decoder_shapes import Fold
from passes.grid import Grid
from passes.layer_inputs import Effort, FoldInputs, Stream, record_inputs

COARSE_EXPONENTS = (0.0, 0.2, 0.4, 0.6, 0.8)
NEAR_STEPS = (0.1, 0.05)
"""Candidates: the scale of an input is its mean size to this power; 0 is no scale. The best gets neighbours, twice."""


def fold_layer(layer: nn.Module, folds: tuple[Fold, ...], grid: Grid, stream: Stream, kwargs: dict, effort: Effort) -> None:
    """Search and fold the scales of a layer that the stream is about to enter, then bound and round its weights."""
    inputs = record_inputs(layer, folds, grid, stream, kwargs, effort.other_tokens)
    attend = _attention_call(layer, stream, kwargs, effort)
    for fold in filter(lambda fold: fold.rounded, folds):
        measure = _measure(layer, fold, grid, inputs[fold.name], attend)
        scales = best_scales(fold, inputs[fold.name].mean_size, measure)
        fold.apply(scales)
        inputs[fold.name].divide(scales, grid)
    for fold in folds:
        for linear in fold.rounded:
            weight = linear.weight.data
            linear.weight.data = bounded_and_rounded(weight, inputs[fold.name].blocks, grid, fold.first_bounded_row(linear))


def best_scales(fold: Fold, mean_size: torch.Tensor, measure: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The scales with the least error among the candidates."""

    def scales_at(exponent: float) -> torch.Tensor:
        scales = fold.shared(mean_size.clamp(min=1e-6).pow(exponent).clamp(min=1e-4))
        return scales / (scales.max() * scales.min()).sqrt()

    errors: dict[float, float] = {}

    def best_of(exponents: list[float]) -> float:
        new = [exponent for exponent in exponents if 0 <= exponent <= 1 and exponent not in errors]
        found = torch.stack([measure(scales_at(exponent)) for exponent in new]).tolist()
        errors.update(zip(new, found, strict=True))
        return min(errors, key=errors.get)

    best = best_of(list(COARSE_EXPONENTS))
    for step in NEAR_STEPS:
        best = best_of([round(best - step, 2), round(best + step, 2)])
    return scales_at(best)


def _measure(
    layer: nn.Module, fold: Fold, grid: Grid, inputs: FoldInputs, attend: Callable[[], torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The error that rounding would cause with given scales, on what the fold's readers are part of."""
    sample = inputs.sample
    if fold.name == "attention":
        return _measured_on_block(fold, grid, attend)
    if fold.name == "mlp":
        return _measured_on_block(fold, grid, lambda: layer.mlp(sample))
    return _measured_on_product(fold, grid, sample.T.contiguous())


def _attention_call(layer: nn.Module, stream: Stream, kwargs: dict, effort: Effort) -> Callable[[], torch.Tensor]:
    """Attention over a few whole rows, taken from everywhere."""
    count = max(1, effort.attention_tokens // stream.hidden.shape[1])
    rows = layer.input_layernorm(stream.hidden[:: max(1, len(stream.hidden) // count)][:count])
    return lambda: layer.self_attn(hidden_states=rows, **kwargs)[0]


def _measured_on_block(fold: Fold, grid: Grid, call: Callable[[], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    wanted = call()

    def measure(scales: torch.Tensor) -> torch.Tensor:
        kept = [linear.weight.data for linear in fold.rounded]
        for linear in fold.rounded:
            linear.weight.data = grid.rounded(linear.weight.data, scales)
        error = (call() - wanted).pow_(2).mean()
        for linear, weight in zip(fold.rounded, kept, strict=True):
            linear.weight.data = weight
        return error

    return measure


def _measured_on_product(fold: Fold, grid: Grid, sample: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    def measure(scales: torch.Tensor) -> torch.Tensor:
        lost = [grid.rounded(linear.weight.data, scales).sub_(linear.weight.data) for linear in fold.rounded]
        return sum((part @ sample).pow_(2).sum() for part in lost)

    return measure
