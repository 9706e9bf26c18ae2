"""Export: a Hugging Face model in, a graph for ONNX Runtime GenAI out that runs with no adapter and with any adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lora_layout import Sizes, as_plain, layout
from step_finetune import targets_of
from step_io import Progress, Step, StepError, main

PRECISIONS = {"cpu": ("int4", "int8", "fp32"), "cuda": ("int4", "fp16", "fp32")}
"""What each provider computes in. int8 weights are for the CPU: the CUDA kernels are made for int4."""

INT8_ACTIVATIONS = 4
"""MatMulNBits' accuracy level for 8-bit activations: the CPU's fastest kernels, with little loss (see ORT's docs)."""

GRID_FILE = "grid.json"


def export(step: Step) -> None:
    config = json.loads((step.inputs["model"] / "config.json").read_text(encoding="utf-8"))
    provider, precision = step.option("provider", "cpu"), step.option("precision", "int4")
    if precision not in PRECISIONS.get(provider, ()):
        known = ", ".join(PRECISIONS.get(provider, ())) or "no precision"
        raise StepError(f"{precision} cannot be exported for {provider}.", f"For {provider} there is {known}.")
    made = build(step, config, passes_of(step, config, provider, precision), provider)
    settle(made, step.out)
    set_context_length(step.out / "genai_config.json", int(step.option("context_length", 0)))
    size = sum(file.stat().st_size for file in step.out.glob("model.onnx*"))
    step.write_metrics({"graph.bytes": size})


def passes_of(step: Step, config: dict, provider: str, precision: str) -> dict[str, dict[str, Any]]:
    """Olive's passes and ours, in order."""
    passes: dict[str, dict[str, Any]] = {"build": {"type": "ModelBuilder", "precision": precision}}
    if precision == "int4":
        passes["build"] |= int4_options(step, config, provider)
    if precision == "int8":
        passes["build"]["precision"] = "fp32"  # the builder itself knows no int8
        passes["round"] = {
            "type": "BlockRounding", "bits": 8, "block_size": step.option("block_size", 32),
            "is_symmetric": False, "accuracy_level": INT8_ACTIVATIONS, "nodes_to_exclude": ["/model/embed_tokens/Gather"],
            "save_as_external_data": True, "external_data_name": "model.onnx.data",
        }  # fmt: skip
    if config.get("tie_word_embeddings") and precision in ("int4", "int8"):
        passes["share"] = {"type": "SharedEmbedding"}
    projections = as_plain(layout(config, targets_of(step, config["model_type"])))
    passes["adapters"] = {"type": "LoraInputs", "layout": projections}
    return passes


def int4_options(step: Step, config: dict, provider: str) -> dict[str, Any]:
    """The builder's int4 options."""
    return {
        "int4_block_size": step.option("block_size", 32),
        "int4_is_symmetric": bool(step.option("symmetric", False)),
        "int4_algo_config": rounding_of(step, config),
        "int4_accuracy_level": INT8_ACTIVATIONS if provider == "cpu" else 2,
    }


def rounding_of(step: Step, config: dict) -> str:
    """The builder's name for how weights are rounded, and whether the head keeps 8 bits.

    Weights that lie on a grid already are rounded plainly, which finds the same grid; others get the searched rounding.
    Both of these cannot store an odd number of blocks a row, nor do without zero points: then it is the default.
    """
    block = step.option("block_size", 32)
    sizes = Sizes.of(config)
    has_odd_rows = any(-(-width // block) % 2 for width in (sizes.hidden, sizes.queries, sizes.middle))
    if step.option("symmetric", False) or has_odd_rows:
        return "default"
    algorithm = "rtn" if (step.inputs["model"] / GRID_FILE).exists() else "k_quant"
    return f"{algorithm}_last" if step.option("lm_head", "int8") == "int8" else algorithm


def build(step: Step, config: dict, passes: dict[str, dict[str, Any]], provider: str) -> Path:
    from olive_run import run_olive

    progress = Progress(step, total=len(passes), unit="passes")
    progress.tell(0, "ModelBuilder")
    trusts = bool(step.option("trust_remote_code", False))
    made = run_olive(step.inputs["model"], passes, step.out / "olive", provider=provider, trust_remote_code=trusts)
    progress.tell(len(passes), is_last=True)
    return made if made.is_dir() else made.parent


def settle(made: Path, out: Path) -> None:
    """Move what Olive made to where it belongs; its note of this machine's paths stays behind."""
    (made / "model_config.json").unlink(missing_ok=True)
    for file in list(made.iterdir()):
        shutil.move(str(file), out / file.name)
    shutil.rmtree(out / "olive")


def set_context_length(genai_config: Path, length: int) -> None:
    """Bound the memory of a conversation; 0 leaves the model's own length."""
    if not length:
        return
    config = json.loads(genai_config.read_text(encoding="utf-8"))
    own = config["model"]["context_length"]
    if length > own:
        raise StepError(f"The model's context has {own} tokens, {length} were asked for.", "Lower context_length.")
    config["model"]["context_length"] = config["search"]["max_length"] = length
    genai_config.write_text(json.dumps(config, indent=4), encoding="utf-8")


if __name__ == "__main__":
    main(export)
