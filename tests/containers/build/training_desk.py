"""Trainings of a tiny model, without Olive: a job at hand, the adapter and the events that come out."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from passes.training_job import Job, Place, Training
from passes.training_loop import train
from passes.training_processes import Share
from rows import Tokens
from safetensors.torch import load_file
from shared import events

SETTINGS = Training(
    rank=4, alpha=8.0, targets=("q_proj", "down_proj"), learning_rate=2e-2, epochs=2.0, batch_size=6, seed=5, dtype="float32"
)  # fmt: skip


def rows(count: int, start: int = 0) -> list[Tokens]:
    """Rows of different lengths, which say again what they were told."""
    texts = [[40 + number % 7, 50, *[60 + number % 5] * (3 + number % 6)] for number in range(start, start + count)]
    return [Tokens(text, 2 + number % 2) for number, text in enumerate(texts)]


def job_in(folder: Path, model: Path, key: str = "key", rows_given: list[Tokens] | None = None, **options) -> Job:
    """A training whose run and scratch folder are `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(run=str(folder), step="finetune", key=key, scratch=str(folder), checkpoint_seconds=1e9)
    held_out = rows(5, start=100) if options.get("patience") else []
    return Job(str(model), replace(SETTINGS, **options), rows_given or rows(14), place, held_out)


def with_checkpoints(job: Job) -> Job:
    """The same, with a checkpoint after every step."""
    return replace(job, place=replace(job.place, checkpoint_seconds=0.0))


def trained(job: Job, device: str = "cpu") -> dict[str, float]:
    return train(job, Share(torch.device(device)))


def adapter(job: Job) -> dict[str, torch.Tensor]:
    return load_file(Path(job.place.scratch, "adapter", "adapter_model.safetensors"))


def progress(job: Job) -> list:
    """What was told, in order."""
    lines = Path(job.place.run, "events.jsonl").read_text().splitlines()
    return [events.from_line(line) for line in lines]


def summary(job: Job) -> dict[str, float]:
    return json.loads(Path(job.place.scratch, "summary.json").read_text())


def are_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], within: float = 1e-4) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[name], other[name], atol=within, rtol=1e-3) for name in one)


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
