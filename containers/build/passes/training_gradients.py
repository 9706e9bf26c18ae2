"""The gradients of an adapter, laid so that all processes sum them at once."""

from __future__ import annotations

import torch

LONGEST_GRADIENT = 1.0
"""Gradients are shortened to this length, so that one odd batch cannot throw the adapter far."""


class Gradients:
    """All gradients in one buffer, with the step's loss and a mark of failure behind them: one sum over processes does it all."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        self.flat = torch.zeros(sum(weight.numel() for weight in weights) + 2, device=weights[0].device)
        self.all, self.loss, self.failures = self.flat[:-2], self.flat[-2], self.flat[-1]
        start = 0
        for weight in weights:
            weight.grad = self.flat[start : start + weight.numel()].view_as(weight)
            start += weight.numel()

    def shorten(self) -> None:
        length = torch.linalg.vector_norm(self.all)
        self.all.mul_(torch.clamp(LONGEST_GRADIENT / (length + 1e-6), max=1.0))
