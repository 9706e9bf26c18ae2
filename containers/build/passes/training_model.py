"""The model that is trained: the base as it is, and a LoRA adapter beside each of its projections."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from torch.nn import functional

from passes.training_batches import Batch
from passes.training_job import Job


class AdapterModel:
    """A base model with an adapter in training."""

    def __init__(self, job: Job, device: torch.device) -> None:
        self.device, self.training = device, job.training
        self.peft = _with_adapter(_base(job, device), job.training)
        self.base = self.peft.get_base_model()
        self.decoder = getattr(self.base, self.base.base_model_prefix)
        self.weights = [weight for weight in self.peft.parameters() if weight.requires_grad]
        self.recomputes = False
        self.peft.train()

    @property
    def vocabulary(self) -> int:
        return self.base.get_output_embeddings().weight.shape[0]

    def set_recomputing(self, is_on: bool) -> None:
        """Whether activations are kept for backward, or computed again."""
        if is_on and not self.recomputes:
            self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if self.recomputes and not is_on:
            self.base.gradient_checkpointing_disable()
        self.recomputes = is_on

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        """The loss, summed over the tokens that have one. Logits are computed for those alone: the vocabulary is large."""
        with self._precision():
            hidden = self.decoder(input_ids=batch.ids, position_ids=batch.positions, use_cache=False)[0]
            logits = self.base.get_output_embeddings()(hidden.flatten(0, 1).index_select(0, batch.predicting))
        return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")

    def _precision(self) -> contextlib.AbstractContextManager:
        """The adapter's weights stay float32; they are multiplied in the base's precision."""
        if self.training.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def save(self, folder: Path) -> None:
        """The adapter alone, in PEFT's format."""
        self.peft.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # an empty model card


def _base(job: Job, device: torch.device) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    where = {"device_map": {"": device}} if device.type == "cuda" else {}
    model = AutoModelForCausalLM.from_pretrained(
        job.model,
        dtype=getattr(torch, job.training.dtype),
        attn_implementation="sdpa",
        trust_remote_code=job.trust_remote_code,
        **where,
    )
    return model.requires_grad_(False)


def _with_adapter(base: torch.nn.Module, training) -> torch.nn.Module:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(training.seed)
    config = LoraConfig(
        r=training.rank,
        lora_alpha=training.alpha,
        lora_dropout=training.dropout,
        target_modules=list(training.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    if training.dtype != "float32":
        for layer in model.modules():
            if hasattr(layer, "cast_input_dtype_enabled"):
                layer.cast_input_dtype_enabled = False  # autocast does it, without a float32 copy of every input
    return model
