"""One training as it was asked for: the options, the rows, and where it leaves what. Standard library only."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rows import Tokens

USUAL_LEARNING_RATE = 2e-4
EVALUATIONS_PER_EPOCH = 4


@dataclass(frozen=True)
class Training:
    """How an adapter is trained."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    learning_rate: float = USUAL_LEARNING_RATE
    scheduler: str = "cosine"
    warmup_ratio: float = 0.05
    epochs: float = 1.0
    max_steps: int = 0
    batch_size: int = 8
    gradient_accumulation: int = 1
    micro_batch: int = 0
    """Rows in memory together; 0: as many as fit. It changes no result but for the order in which floats are summed."""
    rows: str = "separate"
    """packed: the rows of a micro-batch end to end in one sequence; separate: beside each other, padded."""
    seed: int = 0
    dtype: str = "float32"
    patience: int = 0
    evaluate_every: int = 0

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Training:
        """Those of `options` that are known here and not null."""
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in options.items() if name in known and value is not None}
        return cls(**{**given, "targets": tuple(given.get("targets", ()))})

    @property
    def step_rows(self) -> int:
        """Rows that one step of the optimizer learns from."""
        return self.batch_size * self.gradient_accumulation

    def steps_per_epoch(self, rows: int) -> int:
        return math.ceil(rows / self.step_rows)

    def steps(self, rows: int) -> int:
        """Steps of the whole training."""
        return self.max_steps or math.ceil(self.epochs * self.steps_per_epoch(rows))

    def evaluates_every(self, rows: int) -> int:
        """Steps between two looks at the held-out loss."""
        return self.evaluate_every or max(1, self.steps_per_epoch(rows) // EVALUATIONS_PER_EPOCH)

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0: it rises for a while, then follows the schedule."""
        warmup = math.ceil(steps * self.warmup_ratio)
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        share = (step - warmup) / max(1, steps - warmup)
        falls = {"constant": 1.0, "linear": 1.0 - share, "cosine": 0.5 * (1.0 + math.cos(math.pi * share))}
        return self.learning_rate * falls[self.scheduler]


@dataclass(frozen=True)
class Place:
    """Where a training tells its steps and keeps what a resumed one goes on from."""

    run: str
    step: str
    key: str
    """What the step depends on, in one hash: a checkpoint of another key is never gone on from."""
    scratch: str
    """A folder that survives a kill; the step removes it once it is done."""
    checkpoint_seconds: float = 30.0
    processes: int = 0
    """Processes to train in; 0: one for each GPU."""


@dataclass(frozen=True)
class Job:
    """Everything that a training process needs to know."""

    model: str
    training: Training
    rows: list[Tokens]
    place: Place
    held_out: list[Tokens]
    trust_remote_code: bool = False

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Job:
        raw = json.loads(path.read_text(encoding="utf-8"))
        rows, held_out = ([Tokens(**row) for row in raw[name]] for name in ("rows", "held_out"))
        training, place = Training.from_options(raw["training"]), Place(**raw["place"])
        return cls(raw["model"], training, rows, place, held_out, raw["trust_remote_code"])
