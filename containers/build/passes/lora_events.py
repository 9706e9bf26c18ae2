"""Olive's LoRA pass with a trainer of ours: it tells every step, and spends nothing on tokens that have no loss."""

from __future__ import annotations

import logging
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import transformers
from olive.passes.olive_pass import PassConfigParam
from olive.passes.pytorch.lora import LoRA
from torch.nn import functional

TRAINING_LOGGER = "edge.training"
"""Each training step is a record here, with `done`, `total` and `measured` on it."""

IGNORED = -100
"""The label of a token that has no loss."""

logger = logging.getLogger(TRAINING_LOGGER)


class LoRAWithEvents(LoRA):
    """Low-rank adapters, trained as Olive sets them up."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        config = super()._default_config(accelerator_spec)
        config["seed"] = PassConfigParam(type_=int, default_value=0, description="Adapter weights start from this.")
        return config

    def enable_lora(self, model, config, *args, **kwargs):
        transformers.set_seed(config.seed)  # the adapter's first weights are drawn before the trainer sets its seed
        return super().enable_lora(model, config, *args, **kwargs)

    def train_and_save_new_model(self, model, tokenizer, config, output_model, output_model_path):
        rows, _none = self.get_datasets(config)
        with tempfile.TemporaryDirectory(prefix="lora-") as folder:
            config.training_args.output_dir = folder
            trainer = AnswerTrainer(
                model=model,
                args=config.training_args.create_training_args(),
                train_dataset=rows,
                data_collator=partial(self.collate_batch, tokenizer=tokenizer),
                callbacks=[StepTeller()],
            )
            trainer.train()
        adapter = Path(output_model_path) / "adapter"
        model.save_pretrained(adapter, save_embedding_layers=False)
        output_model.set_resource("adapter_path", adapter)
        return output_model


class AnswerTrainer(transformers.Trainer):
    """Computes logits only where there is a loss: the vocabulary is large, and most tokens are the question."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        network = model.get_base_model()
        hidden = network.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])[0]
        targets = inputs["labels"][:, 1:]
        has_loss = targets != IGNORED
        logits = network.lm_head(hidden[:, :-1][has_loss])
        loss = functional.cross_entropy(logits.float(), targets[has_loss])
        return (loss, {"logits": logits}) if return_outputs else loss


class StepTeller(transformers.TrainerCallback):
    """Logs each step's loss, learning rate and rate."""

    def on_train_begin(self, args, state, control, **_rest) -> None:
        self.began = time.monotonic()

    def on_log(self, args, state, control, logs=None, **_rest) -> None:
        if "loss" not in logs:
            return
        seconds = time.monotonic() - self.began
        measured = {
            "loss": float(logs["loss"]),
            "learning_rate": float(logs["learning_rate"]),
            "rate": state.global_step / max(seconds, 1e-9),
            "epoch": float(logs.get("epoch", 0)),
            "seconds": seconds,
        }
        extra = {"done": state.global_step, "total": state.max_steps, "measured": measured}
        logger.info("step %d of %d: loss %.4f", state.global_step, state.max_steps, measured["loss"], extra=extra)


def fastest_dtype() -> str:
    """bfloat16 where the processor multiplies it natively, else float32 (float16 on a CPU is a hundred times slower)."""
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    able = torch.cpu.get_capabilities()
    return "bfloat16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "float32"
