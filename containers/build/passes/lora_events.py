"""Olive's LoRA pass with a training of ours: it fits memory, goes on after a kill, uses every GPU, and tells what it does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from olive.model import HfModelHandler
from olive.passes.olive_pass import PassConfigParam
from olive.passes.pytorch.lora import LoRA
from rows import Tokens

from passes.training_job import Job, Place, Training
from passes.training_loop import ADAPTER_FOLDER, train
from passes.training_processes import alone, run_together, wanted_processes

PLACE_FILE = "place.json"
"""In the scratch folder: the run and the step that the training belongs to."""


class LoRAWithEvents(LoRA):
    """Low-rank adapters, set up as Olive sets them up. The base model is read only: what comes out is the adapter alone."""

    @classmethod
    def _default_config(cls, accelerator_spec) -> dict[str, PassConfigParam]:
        own = {
            "seed": PassConfigParam(type_=int, default_value=0, description="Adapter weights and the order of rows start from this."),
            "training": PassConfigParam(type_=dict, required=True, description="The other options of passes.training_job.Training."),
            "scratch": PassConfigParam(type_=str, required=True, description="Folder for checkpoints."),
        }
        return {**super()._default_config(accelerator_spec), **own}

    def _run_for_config(self, model: HfModelHandler, config, output_model_path: str) -> HfModelHandler:
        job = _job(model, config)
        processes = wanted_processes(job)
        if processes > 1:
            run_together(job, processes)
        else:
            train(job, alone())
        return HfModelHandler(_beside_configuration(Path(model.model_path), job, Path(output_model_path)), load_kwargs=model.load_kwargs)


def _job(model: HfModelHandler, config) -> Job:
    own = {
        "rank": config.r,
        "alpha": config.alpha,
        "dropout": config.lora_dropout,
        "targets": config.target_modules,
        "dtype": config.torch_dtype,
        "seed": config.seed,
    }
    scratch = Path(config.scratch)
    place = Place(**json.loads((scratch / PLACE_FILE).read_text(encoding="utf-8")), scratch=str(scratch))
    return Job(
        model=str(model.model_path),
        training=Training.from_options({**config.training, **own}),
        rows=_rows(config.train_data_config),
        place=place,
        held_out=_rows(config.eval_data_config) if config.eval_data_config else [],
        trust_remote_code=bool(model.get_load_kwargs().get("trust_remote_code")),
    )


def _rows(data_config) -> list[Tokens]:
    return [Tokens(row["ids"], row["answer_from"]) for row in data_config.to_data_container().load_dataset()]


def _beside_configuration(base: Path, job: Job, folder: Path) -> Path:
    """A folder that Olive takes for a model without copying the base: the adapter, and what describes the base."""
    shutil.copytree(Path(job.place.scratch, ADAPTER_FOLDER), folder, dirs_exist_ok=True)
    for file in [base / "config.json", *base.glob("*.py")]:
        shutil.copy(file, folder)
    return folder


def fastest_dtype() -> str:
    """bfloat16 where the processor multiplies it natively, else float32 (float16 on a CPU is a hundred times slower)."""
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16", "bf16"} & _processor_flags() else "float32"


def _processor_flags() -> set[str]:
    """What the kernel says the processor can; PyTorch tells it only from 2.11 on, and the CUDA 12 flavour has 2.10."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return set()
    told = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(told, "").split())
