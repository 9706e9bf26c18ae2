"""What a training says of itself: its steps as events of the run, its figures at the end, and when it is lost."""

from __future__ import annotations

import math
import resource
import time
from pathlib import Path

import torch
from step_io import Progress, Step, StepError

from passes.training_fit import Fit
from passes.training_job import USUAL_LEARNING_RATE, Job
from passes.training_stop import HeldOutWatch

SECONDS_BETWEEN = 0.5
LOOKED_AT = 10
"""Newest losses that say whether anything is still learnt."""
WORSE_BY = 1.0
"""Nats above the start from which a training that does no better than guessing is given up."""
NEARLY = 0.99
"""A collapsed model guesses evenly, give or take a little."""


class TrainingTeller:
    """Tells the steps of one training."""

    def __init__(self, job: Job, steps: int, vocabulary: int) -> None:
        self.job, self.steps, self.guessing = job, steps, math.log(vocabulary)
        step = Step(Path(job.place.run), job.place.step, "finetune", {}, {}, Path(job.place.scratch))
        self.progress = Progress(step, total=steps, unit="steps")
        self.tokens = 0
        """Tokens gone through, padding not counted."""
        self.told_at = self.began = time.monotonic()
        self.told_tokens = 0

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self.told_at >= SECONDS_BETWEEN

    def count(self, tokens: int) -> None:
        self.tokens += tokens

    def tell(self, done: int, losses: list[float], learning_rate: float, fit: Fit, seconds: float, is_last: bool) -> None:
        """Tell how far it is, with the mean of the losses since the last time."""
        now = time.monotonic()
        told = {
            "loss": sum(losses) / len(losses),
            "learning_rate": learning_rate,
            "rate": done / max(seconds, 1e-9),
            "epoch": done / self.job.training.steps_per_epoch(len(self.job.rows)),
            "tokens_per_second": (self.tokens - self.told_tokens) / max(now - self.told_at, 1e-9),
            "micro_batch": fit.micro_batch,
            "memory": peak_bytes(),
        }
        self.told_at, self.told_tokens = now, self.tokens
        self.progress.tell(done, is_last=True, **told)
        print(f"step {done} of {self.steps}: " + ", ".join(f"{name} {value:.6g}" for name, value in told.items()), flush=True)

    def tell_held_out(self, done: int, watch: HeldOutWatch) -> None:
        """Tell the held-out loss, and where it stops for it."""
        loss = watch.losses[-1][1]
        message = ""
        if watch.is_over:
            message = f"stopped: the held-out loss has not fallen since step {watch.best_step}"
        self.progress.tell(done, message, is_last=True, held_out_loss=loss)
        print(f"step {done} of {self.steps}: held-out loss {loss:.6g} {message}".rstrip(), flush=True)

    def tell_resumed(self, done: int) -> None:
        self.progress.tell(done, f"goes on after step {done}", is_last=True)
        print(f"Goes on from the checkpoint after step {done}.", flush=True)

    def check(self, losses: list[float], new: int) -> None:
        """Raises StepError where a new loss is no number, or the newest are no better than guessing and worse than the start."""
        rate = self.job.training.learning_rate
        way = f"Lower finetune.learning_rate: it is {rate:g}, and {USUAL_LEARNING_RATE:g} is usual."
        first_new = len(losses) - new
        lost = next((number for number in range(first_new, len(losses)) if not math.isfinite(losses[number])), None)
        if lost is not None:
            raise StepError(f"The loss is not a number any more at step {lost + 1} of {self.steps}.", way)
        if len(losses) < 2 * LOOKED_AT:
            return
        now = sum(losses[-LOOKED_AT:]) / LOOKED_AT
        if now > losses[0] + WORSE_BY and now > NEARLY * self.guessing:
            said = f"The loss rose from {losses[0]:.2f} to {now:.2f} by step {len(losses)}: no better than guessing ({self.guessing:.2f})."
            raise StepError(said, way)

    def summary(self, losses: list[float], fit: Fit, seconds: float) -> dict[str, float]:
        return {
            "train.loss_first": losses[0],
            "train.loss_last": sum(losses[-5:]) / len(losses[-5:]),
            "train.rows": len(self.job.rows),
            "train.tokens": sum(len(row.ids) for row in self.job.rows),
            "train.steps": len(losses),
            "train.seconds": seconds,
            "train.tokens_per_second": self.tokens / max(seconds, 1e-9),
            "train.micro_batch": fit.micro_batch,
            "train.gradient_checkpointing": float(fit.recomputes),
            "train.peak_memory": peak_bytes(),
        }


def peak_bytes() -> int:
    """The most memory that this process held: of the GPU where it computes there."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
