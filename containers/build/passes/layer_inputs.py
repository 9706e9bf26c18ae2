"""What goes into the linear layers of one decoder layer during calibration: a few numbers of all tokens, and all of a few tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from passes.decoder_shapes import Fold
from passes.grid import Grid


@dataclass(frozen=True)
class Effort:
    """How many tokens the search for scales looks at, and how many go through a layer together."""

    attention_tokens: int = 768
    other_tokens: int = 512
    batch_tokens: int = 1024

    @classmethod
    def on(cls, device: torch.device) -> Effort:
        """What a processor has done in a minute for a small model, or a GPU in a second for a layer of a large one."""
        return cls() if device.type == "cpu" else cls(attention_tokens=4096, other_tokens=4096, batch_tokens=4096)


class Stream:
    """Rows of hidden states on their way through the layers (`[rows, tokens, hidden]`), a few rows at a time."""

    def __init__(self, hidden: torch.Tensor, batch_tokens: int) -> None:
        self.hidden = hidden
        self.rows = max(1, batch_tokens // hidden.shape[1])

    def through(self, layer: nn.Module, kwargs: dict) -> Iterator[torch.Tensor]:
        """What the layer makes of each batch."""
        for batch in self.hidden.split(self.rows):
            made = layer(batch, **kwargs)
            yield made[0] if isinstance(made, tuple) else made

    def passed(self, layer: nn.Module, kwargs: dict) -> Stream:
        """The stream behind the layer."""
        made = torch.empty_like(self.hidden)
        for start, part in enumerate(self.through(layer, kwargs)):
            made[start * self.rows : (start + 1) * self.rows] = part
        return Stream(made, self.rows * made.shape[1])

    def pass_in_place(self, layer: nn.Module, kwargs: dict) -> None:
        """The same, where what was before the layer is not wanted any more."""
        for batch, made in zip(self.hidden.split(self.rows), self.through(layer, kwargs), strict=True):
            batch.copy_(made)

    def distance(self, other: Stream) -> float:
        """Mean square of the difference, relative to the size of `other`."""
        lost = (self.hidden - other.hidden).pow_(2).mean()
        return (lost / other.hidden.pow(2).mean().clamp(min=1e-12)).item()


@dataclass
class FoldInputs:
    """The inputs of one fold's readers."""

    mean_size: torch.Tensor
    """Of each input."""
    blocks: torch.Tensor
    """Second moments within each group of inputs, `[groups, group_size, group_size]`."""
    seen: int = 0
    samples: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def none_yet(cls, fold: Fold, grid: Grid) -> FoldInputs:
        weight = fold.readers[0].weight
        groups = -(-weight.shape[1] // grid.group_size)
        return cls(weight.new_zeros(weight.shape[1]), weight.new_zeros(groups, grid.group_size, grid.group_size))

    def add(self, inputs: torch.Tensor, grid: Grid, every: int) -> None:
        """Count the tokens in, and keep one in `every`."""
        inputs = inputs.flatten(0, -2)
        groups = grid.grouped(inputs).transpose(0, 1)
        self.mean_size += inputs.abs().sum(0)
        self.blocks += torch.bmm(groups.transpose(1, 2), groups)
        self.samples.append(inputs[-self.seen % every :: every].clone())
        self.seen += len(inputs)

    def divide(self, scales: torch.Tensor, grid: Grid) -> None:
        """The inputs after a scale was folded into what makes them."""
        groups = grid.grouped(scales[None])[0].clone()
        groups[groups == 0] = 1  # what a last group is filled up with
        self.blocks /= groups[:, :, None] * groups[:, None, :]
        self.mean_size /= scales
        self.samples = [self.sample / scales]

    @property
    def sample(self) -> torch.Tensor:
        return torch.cat(self.samples)


def record_inputs(
    layer: nn.Module, folds: tuple[Fold, ...], grid: Grid, stream: Stream, kwargs: dict, tokens: int
) -> dict[str, FoldInputs]:
    """The inputs of each fold by its name, seen while all rows go through the layer."""
    found = {fold.name: FoldInputs.none_yet(fold, grid) for fold in folds}
    every = max(1, stream.hidden.shape[0] * stream.hidden.shape[1] // tokens)

    def watcher(inputs: FoldInputs) -> Callable:
        return lambda _module, args: inputs.add(args[0], grid, every)

    hooks = [fold.readers[0].register_forward_pre_hook(watcher(found[fold.name])) for fold in folds]
    for _output in stream.through(layer, kwargs):
        pass
    for hook in hooks:
        hook.remove()
    for inputs in found.values():
        inputs.mean_size /= inputs.seen
        inputs.blocks /= inputs.seen
    return found
