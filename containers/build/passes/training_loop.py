"""The training itself: steps of AdamW on an adapter's weights, told, kept and ended as the job says. Knows nothing of Olive."""

from __future__ import annotations

import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rows import Tokens
from weight_names import read_weights

from passes import training_fit
from passes.training_batches import batch_of, counted, pieces, plan
from passes.training_checkpoints import Checkpoints
from passes.training_fit import Fit
from passes.training_gradients import Gradients
from passes.training_job import Job
from passes.training_model import AdapterModel
from passes.training_processes import Share
from passes.training_stop import HeldOutWatch
from passes.training_teller import TrainingTeller

ADAPTER_FOLDER = "adapter"
SUMMARY_FILE = "summary.json"
LEAST_TOKENS = 16


def train(job: Job, share: Share) -> dict[str, float]:
    """Train and leave the adapter in the job's scratch folder; what was measured.

    Raises:
        StepError: no room, or a loss that is none.
    """
    free = training_fit.free_bytes(share.device)
    need = need_of(job)
    if share.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        need.require(free)
    began = time.monotonic()
    try:
        loop = Loop(job, AdapterModel(job, share.device), share)
        loop.load_seconds = loop.began - began
        loop.find_fit(need, free)
        loop.run()
    except torch.OutOfMemoryError as error:
        raise training_fit.no_room(need, free, max(len(row.ids) for row in job.rows), 0) from error
    return loop.finish()


def need_of(job: Job) -> training_fit.Need:
    weights, training = read_weights(Path(job.model)), job.training
    adapter = weights.adapter_parameters(training.rank, list(training.targets))
    return training_fit.Need(weights.parameters * training_fit.DTYPE_BYTES[training.dtype], adapter, training.rank)


class Loop:
    """A training under way."""

    def __init__(self, job: Job, model: AdapterModel, share: Share) -> None:
        self.job, self.model, self.share, self.training = job, model, share, job.training
        self.steps = plan([len(row.ids) for row in job.rows], job.training)
        self.done, self.seconds_before, self.began, self.load_seconds = 0, 0.0, time.monotonic(), 0.0
        self.fit: Fit | None = None
        self.losses: list[float] = []
        self.told = 0
        """How many of them were told."""
        self.on_device: list[torch.Tensor] = []
        """Losses still on the device: asking for each at once would make it wait."""
        self.watch = HeldOutWatch(job.training.patience) if job.training.patience else None
        self.did_stop = False
        share.agree_on(model.weights)
        self.gradients = Gradients(model.weights)
        self.optimizer = torch.optim.AdamW(model.weights, lr=job.training.learning_rate, weight_decay=0.0, fused=True)
        self.checkpoints = Checkpoints(Path(job.place.scratch), job.place.key, job.place.checkpoint_seconds)
        self.teller = TrainingTeller(job, len(self.steps), model.vocabulary)
        self._take_room_for_optimizer()
        self.resumed_from = self.restore()

    def run(self) -> None:
        """Make the steps that are left."""
        while self.done < len(self.steps):
            if self.evaluates_now():
                self.evaluate()
                if self.watch.is_over:
                    self.did_stop = True
                    break
            self.step()
            self.tell()
            if self.share.is_first and self.checkpoints.is_due:
                self.gather_losses()
                self.checkpoints.write(self.state())
        else:
            if self.watch:
                self.evaluate()
        self.tell(is_last=True)

    # How a step is cut to fit memory.

    def find_fit(self, need: training_fit.Need, free: int) -> None:
        """As many rows together as fit, tried (GPU) or reckoned (CPU) with the longest ones.

        Raises:
            StepError: not even one row fits.
        """
        own = math.ceil(min(self.training.step_rows, len(self.job.rows)) / self.share.count)
        most = min(self.training.micro_batch or own, own)
        longest = sorted(self.job.rows, key=lambda row: -len(row.ids))[:most]
        first = self.fit or Fit(most)
        if self.share.device.type == "cuda":
            found = training_fit.fitting(first, own, partial(self._try, longest))
        elif self.training.micro_batch or self.fit:
            found = first
        else:
            found = training_fit.estimated(own, training_fit.free_bytes(self.share.device) / self.share.count, self._row_bytes(longest[0]))
        if found is None:
            raise training_fit.no_room(need, free, len(longest[0].ids), self._length_that_fits(longest[0]))
        self.use(found)

    def use(self, fit: Fit) -> None:
        self.model.set_recomputing(fit.recomputes)
        self.fit = fit

    def _take_room_for_optimizer(self) -> None:
        """Let AdamW make its averages now, so that trying what fits counts them in: a step of no length, not counted as one."""
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.optimizer.step()
        for state in self.optimizer.state.values():
            state["step"].zero_()

    def _try(self, longest: list[Tokens], fit: Fit) -> None:
        """One piece of the longest rows there and back; its gradients are forgotten."""
        self.model.set_recomputing(fit.recomputes)
        try:
            self._loss_of(longest[: fit.micro_batch]).backward()
        finally:
            self.gradients.flat.zero_()

    def _row_bytes(self, row: Tokens):
        kept = training_fit.kept_bytes(self.model.peft, lambda: self._loss_of([row]))
        config = self.model.base.config
        layers = config.num_hidden_layers
        recomputed = kept / layers + 4 * layers * len(row.ids) * config.hidden_size  # one block, and what goes into each
        return lambda recomputes: recomputed if recomputes else kept

    def _length_that_fits(self, row: Tokens) -> int:
        """The longest half, quarter, … of a row that does fit; 0: none."""
        if self.share.device.type != "cuda":
            return 0
        length = len(row.ids) // 2
        while length >= LEAST_TOKENS:
            shorter = Tokens(row.ids[:length], min(row.answer_from, length - 2))
            if training_fit.fitting(Fit(1, recomputes=True), 1, partial(self._try, [shorter])):
                return length
            length //= 2
        return 0

    # Steps.

    def step(self) -> None:
        """One step of the optimizer; where memory runs out, the same step again in smaller pieces."""
        while not self.summed_gradients():
            smaller = self.fit.smaller(math.ceil(self.training.step_rows / self.share.count))
            if smaller is None:
                raise torch.OutOfMemoryError("not even one row fits")
            training_fit.release()
            self.use(smaller)
        self.gradients.shorten()
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.learning_rate_at(self.done, len(self.steps))
        self.optimizer.step()
        if self.share.is_first:
            self.on_device.append(self.gradients.loss.clone())
        self.teller.count(sum(len(self.job.rows[row].ids) for row in self.steps[self.done]))
        self.done += 1

    def summed_gradients(self) -> bool:
        """Gradients of the step's mean loss, over all processes; False where memory ran out in one of them."""
        rows = self.steps[self.done]
        tokens = sum(counted(self.job.rows[row]) for row in rows)
        self.gradients.flat.zero_()
        torch.manual_seed(hash((self.training.seed, self.done, self.share.rank)))  # what dropout drops depends on no step before
        loss = None
        try:
            for piece in pieces(rows, self.fit.micro_batch, self.share.rank, self.share.count):
                loss = self._loss_of([self.job.rows[row] for row in piece]) / tokens
                loss.backward()
                self.gradients.loss += loss.detach()
        except torch.OutOfMemoryError:
            loss = None
            self.gradients.flat.zero_()
            self.gradients.failures += 1
        self.share.add_up(self.gradients.flat)
        is_sure = self.share.count == 1 and loss is not None
        return is_sure or not self.gradients.failures.item()

    def _loss_of(self, rows: list[Tokens]) -> torch.Tensor:
        batch = batch_of(rows, self.training.rows == "packed")
        return self.model.summed_loss(batch.to(self.share.device))

    # Held-out rows.

    def evaluates_now(self) -> bool:
        return self.watch is not None and self.done % self.training.evaluates_every(len(self.job.rows)) == 0

    def evaluate(self) -> None:
        """The mean loss on held-out rows, seen by all processes alike."""
        if self.watch.losses and self.watch.losses[-1][0] == self.done:
            return
        summed = torch.zeros(2, device=self.share.device)
        rows = sorted(range(len(self.job.held_out)), key=lambda row: -len(self.job.held_out[row].ids))
        self.model.peft.eval()
        with torch.no_grad():
            for piece in pieces(rows, self.fit.micro_batch, self.share.rank, self.share.count):
                chosen = [self.job.held_out[row] for row in piece]
                summed[0] += self._loss_of(chosen)
                summed[1] += sum(map(counted, chosen))
        self.model.peft.train()
        self.share.add_up(summed)
        loss, tokens = summed.tolist()
        self.watch.add(self.done, loss / tokens, self.model.weights)
        if self.share.is_first:
            self.gather_losses()
            self.teller.tell_held_out(self.done, self.watch)

    # What is told and kept.

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    def tell(self, is_last: bool = False) -> None:
        if not self.share.is_first or not (is_last or self.teller.is_due):
            return
        self.gather_losses()
        new = self.losses[self.told :]
        if not new:
            return
        self.told = len(self.losses)
        rate = self.training.learning_rate_at(max(0, self.done - 1), len(self.steps))
        self.teller.tell(self.done, new, rate, self.fit, self.seconds, is_last)

    def gather_losses(self) -> None:
        """Take the losses since the last time off the device, in one question.

        Raises:
            StepError: one is no number, or they say that nothing is learnt any more.
        """
        if not self.on_device:
            return
        new = torch.stack(self.on_device).tolist()
        self.on_device = []
        self.losses += new
        self.teller.check(self.losses, len(new))

    def state(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "seconds": self.seconds,
            "losses": self.losses,
            "tokens": self.teller.tokens,
            "fit": vars(self.fit),
            "weights": [weight.detach() for weight in self.model.weights],
            "optimizer": self.optimizer.state_dict(),
            "watch": self.watch.state() if self.watch else None,
        }

    def restore(self) -> int:
        """Go on from the newest checkpoint; the step it was written after, 0 where there is none."""
        state = self.checkpoints.read()
        if state is None:
            return 0
        with torch.no_grad():
            for weight, kept in zip(self.model.weights, state["weights"], strict=True):
                weight.copy_(kept)
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.seconds_before, self.losses = state["done"], state["seconds"], state["losses"]
        self.teller.tokens, self.told = state["tokens"], len(self.losses)
        self.fit = Fit(**state["fit"])
        if state["watch"]:
            self.watch = HeldOutWatch.from_state(state["watch"])
        if self.share.is_first:
            self.teller.tell_resumed(self.done)
        return self.done

    def finish(self) -> dict[str, float]:
        """Leave the adapter and what was measured; the first process does."""
        if not self.share.is_first:
            return {}
        if self.watch:
            self.watch.restore_best(self.model.weights)
        measured = {
            **self.teller.summary(self.losses, self.fit, self.seconds),
            "train.load_seconds": self.load_seconds,
            "train.processes": self.share.count,
            "train.resumed_from": self.resumed_from,
            **(self.watch.summary(self.did_stop) if self.watch else {}),
        }
        scratch = Path(self.job.place.scratch)
        self.model.save(scratch / ADAPTER_FOLDER)
        (scratch / SUMMARY_FILE).write_text(json.dumps(measured), encoding="utf-8")
        return measured
