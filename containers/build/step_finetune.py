"""Fine-tune: a model and rows in, a LoRA adapter in PEFT's format out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from rows import Tokens, read_rows, tokenize_row
from step_io import Progress, Step, StepError, main

LINEAR_LAYERS = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
}
"""All linear layers of a block, by the model's type: what is trained where the recipe names no targets."""


def finetune(step: Step) -> None:
    from transformers import AutoConfig, AutoTokenizer

    trusts = bool(step.option("trust_remote_code", False))
    tokenizer = AutoTokenizer.from_pretrained(step.inputs["model"], trust_remote_code=trusts)
    model_type = AutoConfig.from_pretrained(step.inputs["model"], trust_remote_code=trusts).model_type
    rows = training_rows(step, tokenizer)
    teller = StepTeller(step)
    logging.getLogger("edge.training").addHandler(teller)
    logging.getLogger("edge.training").setLevel(logging.INFO)
    train(step, rows, targets_of(step, model_type), trusts)
    tokens = sum(len(row.ids) for row in rows)
    step.write_metrics(teller.summary(len(rows), tokens, epochs=teller.last.get("epoch", 0.0)))


def training_rows(step: Step, tokenizer) -> list[Tokens]:
    """The rows as tokens.

    Raises:
        StepError: a row is too long, or leaves nothing to learn.
    """
    template, train_on = step.option("text_template", "{prompt}{response}"), step.option("train_on", "response")
    rows = [tokenize_row(tokenizer, template, row, train_on) for row in read_rows(step.inputs["train"])]
    longest, allowed = max(len(row.ids) for row in rows), int(step.option("max_tokens", 512))
    if longest > allowed:
        too_long = sum(len(row.ids) > allowed for row in rows)
        raise StepError(
            f"{too_long} of {len(rows)} rows are longer than {allowed} tokens; the longest has {longest}.",
            f"Shorten them, or set max_tokens = {longest} (memory and time grow with it).",
        )
    if any(row.answer_from >= len(row.ids) for row in rows):
        raise StepError("A row has an empty response: there is nothing to learn from it.", "Fill it in or remove it.")
    return rows


def targets_of(step: Step, model_type: str) -> list[str]:
    named = list(step.option("targets", []))
    if named:
        return named
    if model_type not in LINEAR_LAYERS:
        raise StepError(
            f"The linear layers of models of type {model_type} are not known here.",
            "Name them in the recipe: finetune.targets = [...].",
        )
    return list(LINEAR_LAYERS[model_type])


def train(step: Step, rows: list[Tokens], targets: list[str], trusts: bool) -> None:
    import torch
    from edge_data import data_config
    from olive_run import run_olive
    from passes.lora_events import fastest_dtype

    dtype = step.option("dtype", "auto")
    is_on_gpu = torch.cuda.is_available()
    lora = {
        "type": "LoRAWithEvents",
        "r": step.option("rank", 16),
        "alpha": step.option("alpha", 32.0),
        "lora_dropout": step.option("dropout", 0.0),
        "target_modules": targets,
        "torch_dtype": fastest_dtype() if dtype == "auto" else dtype,
        "device_map": "auto" if is_on_gpu else None,
        "seed": step.option("seed", 0),
        "train_data_config": "train",
        "training_args": training_arguments(step, is_on_gpu),
    }
    data = [data_config("train", [as_labelled(row) for row in rows])]
    run_olive(step.inputs["model"], {"lora": lora}, step.out / "olive", data, trust_remote_code=trusts)
    keep_adapter(step.out / "olive", step.out)


def training_arguments(step: Step, is_on_gpu: bool) -> dict:
    return {
        "learning_rate": step.option("learning_rate", 2e-4),
        "lr_scheduler_type": step.option("scheduler", "cosine"),
        "warmup_steps": step.option("warmup_ratio", 0.05),  # below 1 it is a part of all steps
        "num_train_epochs": step.option("epochs", 1.0),
        "max_steps": step.option("max_steps", 0) or -1,
        "per_device_train_batch_size": step.option("batch_size", 8),
        "gradient_accumulation_steps": step.option("gradient_accumulation", 1),
        "seed": step.option("seed", 0),
        "gradient_checkpointing": False,
        "use_cpu": not is_on_gpu,
        "dataloader_pin_memory": is_on_gpu,
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def as_labelled(row: Tokens) -> dict[str, list[int]]:
    labels = [-100] * row.answer_from + row.ids[row.answer_from :]
    return {"input_ids": row.ids, "attention_mask": [1] * len(row.ids), "labels": labels}


def keep_adapter(made: Path, out: Path) -> None:
    """Keep PEFT's files only: Olive lays the base model beside them."""
    found = next(made.rglob("adapter_config.json"), None)
    if found is None:
        raise StepError("The training left no adapter.", "The whole story is in the step's log.")
    (found.parent / "README.md").unlink(missing_ok=True)  # an empty model card
    for file in list(found.parent.iterdir()):
        shutil.move(str(file), out / file.name)
    shutil.rmtree(made)


class StepTeller(logging.Handler):
    """Turns each training step into progress, and keeps the first and last losses."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.progress = Progress(step, unit="steps")
        self.losses: list[float] = []
        self.last: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.measured
        self.losses.append(record.measured["loss"])
        shown = {name: self.last[name] for name in ("loss", "learning_rate", "rate", "epoch")}
        self.progress.total = record.total
        self.progress.tell(record.done, **shown)
        if shown["loss"] != shown["loss"]:
            raise StepError("The loss is not a number any more.", "Lower finetune.learning_rate.")

    def summary(self, rows: int, tokens: int, epochs: float) -> dict[str, float]:
        if not self.losses:
            raise StepError("Not one training step was made.", "Raise epochs or max_steps.")
        seconds = self.last["seconds"]
        return {
            "train.loss_first": self.losses[0],
            "train.loss_last": sum(self.losses[-5:]) / len(self.losses[-5:]),
            "train.rows": rows,
            "train.tokens": tokens,
            "train.steps": len(self.losses),
            "train.seconds": seconds,
            "train.tokens_per_second": tokens * epochs / max(seconds, 1e-9),
        }


if __name__ == "__main__":
    main(finetune)
