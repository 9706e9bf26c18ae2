"""Fine-tune: a model and rows in, a LoRA adapter in PEFT's format out.

The loss counts the response only, unless `train_on = "text"`: the template's text before `{response}` is context, which the
model reads but does not learn to say; what stands behind it, such as the mark that ends the answer, is learnt with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from base_mark import leave_mark
from decoder_types import LINEAR_LAYERS
from rows import Tokens, read_rows, tokenize_row
from step_io import Step, StepError, main
from weight_names import read_weights

SCRATCH = "training"
"""Beside the step's outputs: what a killed training goes on from."""
HELD_OUT_ROWS = 128
"""Held-out rows that early stop looks at; more would cost time and tell little."""
TRAINING = (
    "learning_rate", "scheduler", "warmup_ratio", "epochs", "max_steps", "batch_size", "gradient_accumulation", "micro_batch",
    "rows", "patience", "evaluate_every",
)  # fmt: skip
"""Options handed on to the training as they are; the others have names of their own in Olive's LoRA pass."""


def finetune(step: Step) -> None:
    from accelerator import require_torch_on_gpu
    from transformers import AutoConfig, AutoTokenizer

    require_torch_on_gpu()
    trusts = bool(step.option("trust_remote_code", False))
    model_type = AutoConfig.from_pretrained(step.inputs["model"], trust_remote_code=trusts).model_type
    targets = targets_of(step, model_type)
    tokenizer = AutoTokenizer.from_pretrained(step.inputs["model"], trust_remote_code=trusts)
    rows = training_rows(step, tokenizer)
    held_out = held_out_rows(step, tokenizer) if step.option("patience", 0) else []
    scratch = make_scratch(step)
    train(step, rows, held_out, targets, scratch, trusts)
    keep_adapter(scratch, step.out)
    leave_mark(step.inputs["model"], step.out)
    step.write_metrics(json.loads((scratch / "summary.json").read_text(encoding="utf-8")))
    shutil.rmtree(scratch)


def training_rows(step: Step, tokenizer) -> list[Tokens]:
    """The rows as tokens.

    Raises:
        StepError: a row is too long, or leaves nothing to learn.
    """
    rows = tokenized(step, tokenizer, "train")
    longest, allowed = max(len(row.ids) for row in rows), int(step.option("max_tokens", 512))
    if longest > allowed:
        too_long = sum(len(row.ids) > allowed for row in rows)
        raise StepError(
            f"{too_long} of {len(rows)} rows are longer than {allowed} tokens; the longest has {longest}.",
            f"Shorten them, or set max_tokens = {longest} (memory and time grow with it).",
        )
    if not all(map(can_be_learnt, rows)):
        raise StepError("A row has an empty response: there is nothing to learn from it.", "Fill it in or remove it.")
    return rows


def held_out_rows(step: Step, tokenizer) -> list[Tokens]:
    """The rows that early stop looks at: the first ones that are not too long.

    Raises:
        StepError: there is none.
    """
    allowed = int(step.option("max_tokens", 512))
    rows = [row for row in tokenized(step, tokenizer, "held_out") if len(row.ids) <= allowed and can_be_learnt(row)]
    if not rows:
        raise StepError(
            f"No held-out row has a response and at most {allowed} tokens, so early stop has nothing to look at.",
            "Raise max_tokens, give other held-out rows, or set finetune.patience = 0.",
        )
    return rows[:HELD_OUT_ROWS]


def tokenized(step: Step, tokenizer, name: str) -> list[Tokens]:
    template, train_on = step.option("text_template", "{prompt}{response}"), step.option("train_on", "response")
    return [tokenize_row(tokenizer, template, row, train_on) for row in read_rows(step.inputs[name])]


def can_be_learnt(row: Tokens) -> bool:
    """True where a token has a loss: the first never has, for nothing stands before it."""
    return max(1, row.answer_from) < len(row.ids)


def targets_of(step: Step, model_type: str) -> list[str]:
    """The layers that get an adapter.

    Raises:
        StepError: none are named and the model is of an unknown type, or the model has no such layers.
    """
    if int(step.option("rank", 16)) < 1:
        raise StepError("An adapter of rank 0 holds nothing.", "Set finetune.rank to 4 or more.")
    there = sorted(read_weights(step.inputs["model"]).projections)
    listed = f"The model has: {', '.join(there)}." if there else ""
    targets = list(step.option("targets", [])) or list(LINEAR_LAYERS.get(model_type, ()))
    if not targets:
        raise StepError(
            f"The linear layers of models of type {model_type} are not known here.",
            f"Name them in the recipe: finetune.targets = [...]. {listed}".rstrip(),
        )
    absent = [target for target in targets if there and target not in there]
    if absent:
        raise StepError(f"The model has no layers called {', '.join(absent)}.", f"{listed} Set finetune.targets to some of them.")
    return targets


def make_scratch(step: Step) -> Path:
    """The folder that survives a kill, told whose it is."""
    scratch = step.out.parent / SCRATCH
    scratch.mkdir(exist_ok=True)
    for half_done in (scratch / "adapter", scratch / "olive"):
        shutil.rmtree(half_done, ignore_errors=True)
    place = {
        "run": str(step.run),
        "step": step.name,
        "key": step.key,
        "checkpoint_seconds": step.option("checkpoint_seconds", 30.0),
        "processes": step.option("processes", 0),
    }
    (scratch / "place.json").write_text(json.dumps(place), encoding="utf-8")
    return scratch


def train(step: Step, rows: list[Tokens], held_out: list[Tokens], targets: list[str], scratch: Path, trusts: bool) -> None:
    from edge_data import data_config
    from olive_run import run_olive
    from passes.lora_events import fastest_dtype

    dtype = step.option("dtype", "auto")
    lora = {
        "type": "LoRAWithEvents",
        "r": step.option("rank", 16),
        "alpha": step.option("alpha", 32.0),
        "lora_dropout": step.option("dropout", 0.0),
        "target_modules": targets,
        "torch_dtype": fastest_dtype() if dtype == "auto" else dtype,
        "seed": step.option("seed", 0),
        "train_data_config": "train",
        "training": {name: step.options[name] for name in TRAINING if step.options.get(name) is not None},
        "scratch": str(scratch),
    }
    data = [data_config("train", list(map(vars, rows)))]
    if held_out:
        lora["eval_data_config"] = "held_out"
        data.append(data_config("held_out", list(map(vars, held_out))))
    run_olive(step.inputs["model"], {"lora": lora}, scratch / "olive", data, trust_remote_code=trusts)


def keep_adapter(scratch: Path, out: Path) -> None:
    """Keep PEFT's files only: Olive's output describes the base beside them."""
    found = next((scratch / "olive").rglob("adapter_config.json"), None)
    if found is None:
        raise StepError("The training left no adapter.", "The whole story is in the step's log.")
    for file in found.parent.glob("adapter_*"):
        shutil.move(str(file), out / file.name)


if __name__ == "__main__":
    main(finetune)
