"""One Olive workflow in this process: passes in, a model folder out. The only module that starts Olive."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import model_builder
from step_io import StepError

os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"  # read when olive is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

OWN_PASSES = {
    "FoldedRounding": "passes.awq.FoldedRounding",
    "MergedAdapter": "passes.merge.MergedAdapter",
    "LoRAWithEvents": "passes.lora_events.LoRAWithEvents",
    "GptqOnGrid": "passes.gptq.GptqOnGrid",
    "RoundingBuilder": "passes.rounding_builder.RoundingBuilder",
    "SharedEmbedding": "passes.shared_embedding.SharedEmbedding",
    "LoraInputs": "passes.lora_inputs.LoraInputs",
}

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def run_olive(
    model: Path,
    passes: dict[str, dict[str, Any]],
    out: Path,
    data: list[dict[str, Any]] = (),
    provider: str = "cpu",
    trust_remote_code: bool = False,
) -> Path:
    """Run `passes` (Olive's own and ours) over a Hugging Face model; the folder or file of the model that came out.

    Olive's cache lives in a temporary folder beside `out` and is dropped: its keys ignore package versions, and whole
    steps are cached outside, by a key that does not.

    Raises:
        StepError: Olive ended without a model. It does not always raise, so its last warning is told.
    """
    from olive.workflows import run as run_workflow

    model_builder.use_the_fitting_one()
    last_words = _LastWords()
    logging.getLogger("olive").addHandler(last_words)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".olive-") as work:
        config = {
            "input_model": {
                "type": "HfModel",
                "model_path": str(model),
                "load_kwargs": {"attn_implementation": "sdpa", "trust_remote_code": trust_remote_code},
            },
            "systems": {"here": {"type": "LocalSystem", "accelerators": [_accelerator(provider)]}},
            "host": "here",
            "target": "here",
            "data_configs": list(data),
            "passes": passes,
            "output_dir": str(out),
            "cache_dir": str(Path(work, "cache")),
            "no_artifacts": True,
            "log_severity_level": 1,
        }
        with _no_needless_reading():
            output = run_workflow(config, package_config=_package_config(), tempdir=work)
        if isinstance(last_words.cause, StepError):
            raise last_words.cause
        if output is None or not output.has_output_model():
            raise StepError(last_words.text or "Olive ended without a model.", "The whole story is in the step's log.")
    return Path(output.get_best_candidate().model_path)


@contextmanager
def _no_needless_reading() -> Iterator[None]:
    """Olive hashes every file of the model for a cache that we drop, and copies what it made out of there: gigabytes, twice."""
    from cache import link_or_copy
    from olive import resource_path
    from olive.model.config.model_config import ModelConfig

    def linked(source: str, target: str) -> str:
        link_or_copy(Path(source), Path(target))
        return target

    def linked_folder(source, target, ignore=None, **options) -> None:
        shutil.copytree(source, target, ignore=ignore, copy_function=linked, **options)

    with (
        patch.object(ModelConfig, "get_model_identifier", lambda _self: "the input"),
        patch.object(resource_path, "copy_dir", linked_folder),
    ):
        yield


def _accelerator(provider: str) -> dict[str, Any]:
    device = "gpu" if provider == "cuda" else "cpu"
    return {"device": device, "execution_providers": [PROVIDERS[provider]]}


def _package_config() -> dict[str, Any]:
    """Olive's own list of passes, and ours."""
    from olive.package_config import OlivePackageConfig

    known = json.loads(Path(OlivePackageConfig.get_default_config_path()).read_text(encoding="utf-8"))
    everywhere = {"supported_providers": ["*"], "supported_accelerators": ["*"], "supported_precisions": ["*"]}
    known["passes"] |= {name: {"module_path": path, **everywhere} for name, path in OWN_PASSES.items()}
    return known


class _LastWords(logging.Handler):
    """Remembers the last warning or error, for Olive logs a failed pass and goes on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self.cause: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.cause = record.exc_info[1] if record.exc_info else self.cause
        self.text = str(self.cause) if self.cause else record.getMessage()
