"""Activation-aware search, one decoder layer at a time: scales for the inputs, then bounds for the weights.

The scales make the inputs that matter larger before rounding; they are folded into whatever makes the input, so the
layer computes the same. The bounds give up a few large weights so that the others lie on a finer grid. "No scale" and
"no bound" are always among the candidates, so neither search can end above plain rounding in the error it measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from passes.decoder_shapes import Fold, folds_of, may_clip
from passes.grid import Grid

COARSE_EXPONENTS = [step / 10 for step in range(10)]
FINE_STEP = 0.05
"""Candidates: the scale of an input is its mean size to this power; 0 is no scale. The best gets two near neighbours."""

BOTH_SHRINKS = [1 - step / 20 for step in range(11)]
ONE_SHRINKS = [1 - step / 20 for step in range(1, 6)]
"""Candidates for the bounds, as parts of a group's range: first both ends alike, then either end alone."""


@dataclass(frozen=True)
class Effort:
    """How many calibration tokens the searches look at."""

    attention_tokens: int = 768
    mlp_tokens: int = 512


@dataclass(frozen=True)
class LayerReport:
    """What the search did to a layer: its new output, and the relative error of rounding, plain and as found."""

    output: torch.Tensor
    plain_error: float
    found_error: float


class LayerSearch:
    """One decoder layer with the inputs it saw in calibration (`[rows, tokens, hidden]`)."""

    def __init__(self, layer: nn.Module, config, grid: Grid, hidden: torch.Tensor, kwargs: dict, effort: Effort) -> None:
        self.layer, self.grid, self.hidden, self.kwargs, self.effort = layer, grid, hidden, kwargs, effort
        self.folds = folds_of(layer, config)
        self.inputs = self._record_inputs()

    def run(self) -> torch.Tensor:
        """The layer's output for all calibration rows."""
        output = self.layer(self.hidden, **self.kwargs)
        return output[0] if isinstance(output, tuple) else output

    def _record_inputs(self) -> dict[str, torch.Tensor]:
        """What goes into the readers of each fold, by the name of the fold, as `[tokens, inputs]`."""
        seen: dict[str, torch.Tensor] = {}

        def remember(name: str) -> Callable:
            return lambda _module, args: seen.__setitem__(name, args[0].flatten(0, -2))

        hooks = [fold.readers[0].register_forward_pre_hook(remember(fold.name)) for fold in self.folds]
        self.reference = self.run()
        for hook in hooks:
            hook.remove()
        return seen

    def find_and_fold(self) -> LayerReport:
        """Search and fold the scales, then bound and round the weights onto the grid."""
        plain_error = self._error_with_rounding()
        for fold in self.folds:
            scales = self._best_scales(fold)
            fold.apply(scales)
            self.inputs[fold.name] = self.inputs[fold.name] / scales
        for fold in self.folds:
            second_moments = _second_moments(self.inputs[fold.name])
            for linear in fold.readers:
                weight = linear.weight.data
                is_clipped = may_clip(fold, linear)
                linear.weight.data = bounded_and_rounded(weight, second_moments, self.grid, is_clipped)
        output = self.run()
        return LayerReport(output, plain_error, _relative_error(output, self.reference))

    def _error_with_rounding(self) -> float:
        linears = [linear for fold in self.folds for linear in fold.readers]
        kept = [linear.weight.data for linear in linears]
        for linear in linears:
            linear.weight.data = self.grid.rounded(linear.weight.data)
        error = _relative_error(self.run(), self.reference)
        for linear, weight in zip(linears, kept, strict=True):
            linear.weight.data = weight
        return error

    def _best_scales(self, fold: Fold) -> torch.Tensor:
        mean_size = self.inputs[fold.name].abs().mean(0).clamp(min=1e-6)
        measure = self._measure(fold)

        def scales_at(exponent: float) -> torch.Tensor:
            scales = fold.shared(mean_size.pow(exponent).clamp(min=1e-4))
            return scales / (scales.max() * scales.min()).sqrt()

        errors = {exponent: measure(scales_at(exponent)) for exponent in COARSE_EXPONENTS}
        best = min(errors, key=errors.get)
        near = [best - FINE_STEP, best + FINE_STEP] if best else [FINE_STEP]
        errors |= {exponent: measure(scales_at(exponent)) for exponent in near}
        return scales_at(min(errors, key=errors.get))

    def _measure(self, fold: Fold) -> Callable[[torch.Tensor], float]:
        """The error that rounding would cause with given scales, on what the fold's readers are part of."""
        if fold.name == "attention":
            return self._measure_block(fold, self._attention_call())
        if fold.name == "mlp":
            count = self.effort.mlp_tokens
            picked = self.inputs["mlp"][:: max(1, len(self.inputs["mlp"]) // count)]
            return self._measure_block(fold, lambda: self.layer.mlp(picked))
        return self._measure_linear(fold)

    def _attention_call(self) -> Callable[[], torch.Tensor]:
        rows = max(1, self.effort.attention_tokens // self.hidden.shape[1])
        shape = self.hidden[:rows].shape
        normed = self.inputs["attention"].view(self.hidden.shape)[: shape[0]]
        kwargs = {name: _first_rows(value, shape[0], len(self.hidden)) for name, value in self.kwargs.items()}
        return lambda: self.layer.self_attn(hidden_states=normed, **kwargs)[0]

    def _measure_block(self, fold: Fold, call: Callable[[], torch.Tensor]) -> Callable[[torch.Tensor], float]:
        wanted = call()

        def measure(scales: torch.Tensor) -> float:
            kept = [linear.weight.data for linear in fold.readers]
            for linear in fold.readers:
                linear.weight.data = self.grid.rounded(linear.weight.data * scales) / scales
            error = (call() - wanted).pow(2).mean().item()
            for linear, weight in zip(fold.readers, kept, strict=True):
                linear.weight.data = weight
            return error

        return measure

    def _measure_linear(self, fold: Fold) -> Callable[[torch.Tensor], float]:
        second_moments = _second_moments(self.inputs[fold.name])

        def measure(scales: torch.Tensor) -> float:
            error = 0.0
            for linear in fold.readers:
                lost = self.grid.rounded(linear.weight.data * scales) / scales - linear.weight.data
                error += (lost @ second_moments).mul_(lost).sum().item()
            return error

        return measure


def bounded_and_rounded(weight: torch.Tensor, second_moments: torch.Tensor, grid: Grid, is_clipped: bool = True) -> torch.Tensor:
    """The weight on the grid, each group's grid spanning the bounds that lose least of the group's own output."""
    groups = grid.grouped(weight)
    low, high = grid.bounds(groups)
    if is_clipped:
        low, high = _best_bounds(groups, low, high, _group_moments(second_moments, grid), grid)
    return grid.snapped(groups, low, high).flatten(1)[:, : weight.shape[1]]


def _best_bounds(
    groups: torch.Tensor, low: torch.Tensor, high: torch.Tensor, moments: torch.Tensor, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each group the bounds with the least error. Plain bounds come first, and only less error replaces them."""

    def error(of_low: torch.Tensor, of_high: torch.Tensor) -> torch.Tensor:
        lost = (grid.snapped(groups, of_low, of_high) - groups).transpose(0, 1)
        return torch.bmm(lost, moments).mul_(lost).sum(-1).T.unsqueeze(-1)

    def keep_better(of_low: torch.Tensor, of_high: torch.Tensor) -> None:
        nonlocal best, best_low, best_high
        found = error(of_low, of_high)
        is_better = found < best
        best = torch.where(is_better, found, best)
        best_low = torch.where(is_better, of_low, best_low)
        best_high = torch.where(is_better, of_high, best_high)

    best, best_low, best_high = error(low, high), low, high
    for shrink in BOTH_SHRINKS[1:]:
        keep_better(low * shrink, high * shrink)
    if grid.symmetric:
        return best_low, best_high
    middle_low, middle_high = best_low, best_high
    for shrink in ONE_SHRINKS:
        keep_better(middle_low * shrink, middle_high)
        keep_better(middle_low, middle_high * shrink)
    return best_low, best_high


def _second_moments(inputs: torch.Tensor) -> torch.Tensor:
    return inputs.T @ inputs / len(inputs)


def _group_moments(second_moments: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The blocks on the diagonal, one per group: `[groups, group_size, group_size]`."""
    size = grid.group_size
    missing = -len(second_moments) % size
    padded = nn.functional.pad(second_moments, (0, missing, 0, missing))
    count = len(padded) // size
    blocks = padded.view(count, size, count, size)
    return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()


def _relative_error(output: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((output - wanted).pow(2).mean() / wanted.pow(2).mean().clamp(min=1e-12)).item()


def _first_rows(value: object, rows: int, of: int) -> object:
    """The first rows of what is kept per row: tensors as long as the batch, and tuples of them."""
    if isinstance(value, torch.Tensor):
        return value[:rows] if value.dim() > 1 and value.shape[0] == of else value
    if isinstance(value, tuple):
        return tuple(_first_rows(part, rows, of) for part in value)
    return value
