"""The judge: rows that no search has seen go through the layers as they were, as plain rounding makes them, and as found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from passes.layer_inputs import Stream

if TYPE_CHECKING:
    from passes.layer_shelf import LayerShelf

SURE = 2.0
"""Standard errors from which a difference in perplexity is no accident any more."""


@dataclass(frozen=True)
class Verdict:
    """Relative errors that a layer adds, rounded plainly and as found."""

    plain_error: float
    found_error: float

    @property
    def is_plain_better(self) -> bool:
        return not self.found_error <= self.plain_error

    @property
    def kept_error(self) -> float:
        return self.plain_error if self.is_plain_better else self.found_error


@dataclass(frozen=True)
class Judgement:
    """How the whole model does on the held-out rows, as it was, rounded plainly, and as found."""

    perplexity_float: float
    perplexity_plain: float
    perplexity_found: float
    divergence_plain: float
    """Mean Kullback-Leibler divergence of the next token from what the model as it was would say."""
    divergence_found: float
    sureness: float
    """By how many standard errors the perplexity as found is above that of plain rounding, token against token."""

    @property
    def is_plain_better(self) -> bool:
        """A few hundred tokens tell the divergence well, and perplexity only roughly: that has to be worse beyond accident."""
        return not self.divergence_found <= self.divergence_plain or not self.sureness < SURE


class HeldOut:
    """Three streams of the same rows, through the model as it was, rounded plainly, and as found and kept."""

    def __init__(self, ids: torch.Tensor, hidden: torch.Tensor, batch_tokens: int) -> None:
        self.ids = ids
        self.as_was, self.plain, self.kept = (Stream(hidden, batch_tokens) for _ in range(3))

    def see_float(self, layer: nn.Module, kwargs: dict) -> None:
        self.as_was = self.as_was.passed(layer, kwargs)
        self._wanted = self.kept.passed(layer, kwargs)

    def see_plain(self, layer: nn.Module, kwargs: dict) -> None:
        self.plain = self.plain.passed(layer, kwargs)
        self._with_plain = self.kept.passed(layer, kwargs)

    def see_found(self, layer: nn.Module, kwargs: dict) -> Verdict:
        """What is kept goes on; the layer as it was and as rounded plainly has been seen before."""
        found = self.kept.passed(layer, kwargs)
        verdict = Verdict(self._with_plain.distance(self._wanted), found.distance(self._wanted))
        self.kept = self._with_plain if verdict.is_plain_better else found
        del self._wanted, self._with_plain
        return verdict

    def judge(self, shelf: LayerShelf) -> Judgement:
        """Hold what comes out of the last layer against the text itself, and against the model as it was."""
        norm, head = shelf.norm_and_head()
        rows = []
        for ids, *hidden in zip(self.ids, self.as_was.hidden, self.plain.hidden, self.kept.hidden, strict=True):
            said = [functional.linear(norm(one)[:-1], head).log_softmax(-1) for one in hidden]
            rows.append(_weighed(said, ids[1:, None].to(head.device)))
        lost_float, lost_plain, lost_found, far_plain, far_found = torch.cat(rows, dim=1).double()
        worse = lost_found - lost_plain
        perplexities = [lost.mean().exp().item() for lost in (lost_float, lost_plain, lost_found)]
        sureness = (worse.mean() / (worse.std() / math.sqrt(len(worse))).clamp(min=1e-12)).item()
        return Judgement(*perplexities, far_plain.mean().item(), far_found.mean().item(), sureness)


def _weighed(said: list[torch.Tensor], wanted: torch.Tensor) -> torch.Tensor:
    """By token: what each of three models loses on the text, and how far the second and third are from the first."""
    lost = [-one.gather(1, wanted)[:, 0] for one in said]
    far = [functional.kl_div(one, said[0], log_target=True, reduction="none").sum(1) for one in said[1:]]
    return torch.stack(lost + far)
