"""Early stop: the best adapter by its loss on held-out rows, and when to give up looking for a better one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

LITTLE = 1e-4
"""A loss counts as lower where it is so much lower at least."""


@dataclass
class HeldOutWatch:
    """Held-out losses so far, and the adapter that had the lowest."""

    patience: int
    losses: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss) of each evaluation."""
    best_step: int = 0
    best_loss: float = float("inf")
    best: list[torch.Tensor] = field(default_factory=list)
    since_best: int = 0

    @property
    def is_over(self) -> bool:
        return self.since_best >= self.patience

    def add(self, step: int, loss: float, weights: list[torch.Tensor]) -> None:
        """An evaluation was made with these weights."""
        self.losses.append((step, loss))
        if not loss < self.best_loss - LITTLE:
            self.since_best += 1
            return
        self.best_step, self.best_loss, self.since_best = step, loss, 0
        self.best = [weight.detach().to("cpu", copy=True) for weight in weights]

    def restore_best(self, weights: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for weight, best in zip(weights, self.best, strict=True):
                weight.copy_(best)

    def summary(self, did_stop: bool) -> dict[str, float]:
        return {
            "train.held_out_loss_first": self.losses[0][1],
            "train.held_out_loss_best": self.best_loss,
            "train.held_out_loss_last": self.losses[-1][1],
            "train.best_step": self.best_step,
            "train.stopped_early": float(did_stop),
        }

    def state(self) -> dict[str, Any]:
        return {**vars(self), "losses": [list(one) for one in self.losses]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> HeldOutWatch:
        return cls(**{**state, "losses": [(int(step), loss) for step, loss in state["losses"]]})
