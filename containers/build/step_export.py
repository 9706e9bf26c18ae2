"""Export: a Hugging Face model in, a graph for ONNX Runtime GenAI out that runs with no adapter and with any adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from graph_library import lay_beside, library_for, uses_operators
from lora_layout import as_plain, layout
from part_names import KNOWN
from step_finetune import targets_of
from step_io import Progress, Step, StepError, main

PRECISIONS = {"cpu": ("int4", "int8", "fp32"), "cuda": ("int4", "fp16", "fp32")}
"""What each provider computes in. int8 weights are for the CPU: the CUDA kernels are made for int4."""

BITS = {"int4": 4, "int8": 8}
HEAD_BITS = {"int4": 4, "int8": 8, "float": 16}
"""16: left in the type of the activations."""

ACTIVATIONS = {"cpu": 4, "cuda": 2}
"""MatMulNBits' accuracy level: 8-bit activations are the CPU's fastest kernels, with little loss (see ORT's docs)."""

GRID_FILE = "grid.json"


def export(step: Step) -> None:
    config = json.loads((step.inputs["model"] / "config.json").read_text(encoding="utf-8"))
    provider, precision = step.option("provider", "cpu"), step.option("precision", "int4")
    refuse_impossible(step, provider, precision)
    made = build(step, config, passes_of(step, config, provider, precision), provider)
    settle(made, step.out)
    settle_operators(step, provider)
    set_context_length(step.out / "genai_config.json", int(step.option("context_length", 0)))
    size = sum(file.stat().st_size for file in step.out.glob("model.onnx*"))
    has_operators = uses_operators(step.out / "model.onnx")
    metrics = {"graph.bytes": size, "graph.own_operators": has_operators, **counted_projections(step.out / "model.onnx")}
    step.write_metrics({**metrics, **settle_graph(step, config)})


def settle_graph(step: Step, config: dict) -> dict[str, float]:
    """Note the base in the graph; part what merged graphs share from what is the graph's own, and tell how much that is."""
    from graph_files import note_base, split_weights

    note_base(step.out / "model.onnx", step.inputs["model"])
    if not is_merged(step):
        return {}
    return {"graph.own_bytes": split_weights(step.out, step.option("adapter", ""), layout(config, targets_of(step, config["model_type"])))}


def is_merged(step: Step) -> bool:
    """Adapters are folded in before the export, so the graph takes none."""
    return step.option("adapters", "switchable") == "merged"


def refuse_impossible(step: Step, provider: str, precision: str) -> None:
    """
    Raises:
        StepError: the provider has no such precision, or exceptions are named that are unknown or make no difference.
    """
    if precision not in PRECISIONS.get(provider, ()):
        known = ", ".join(PRECISIONS.get(provider, ())) or "no precision"
        raise StepError(f"{precision} cannot be exported for {provider}.", f"For {provider} there is {known}.")
    named = [*step.option("int8", []), *step.option("keep", [])]
    if unknown := [name for name in named if name not in KNOWN]:
        raise StepError(f"No part of a decoder is called {unknown[0]!r}.", f"There are: {', '.join(KNOWN)}.")
    if step.option("int8", []) and precision != "int4" or named and precision not in BITS:
        raise StepError(f"An export in {precision} has no parts with more bits.", 'Leave out export.int8 and export.keep, or use "int4".')


def passes_of(step: Step, config: dict, provider: str, precision: str) -> dict[str, dict[str, Any]]:
    """Olive's passes and ours, in order."""
    passes: dict[str, dict[str, Any]] = {"build": {"type": "ModelBuilder", "precision": precision}}
    if precision in BITS:
        passes["build"] |= rounding_options(step, provider, precision)
        if config.get("tie_word_embeddings"):
            passes["share"] = {"type": "SharedEmbedding"}
    projections = {} if is_merged(step) else as_plain(layout(config, targets_of(step, config["model_type"])))
    if projections or provider == "cuda":
        platform = step.option("platform", "linux/amd64")
        passes["adapters"] = {"type": "LoraInputs", "layout": projections, "platform": platform, "provider": provider}
    return passes


def settle_operators(step: Step, provider: str) -> None:
    """Lay the library of our operators beside a graph that has some; let CUDA replay the graph of a token as a whole."""
    library = library_for(step.option("platform", "linux/amd64"))
    if library and uses_operators(step.out / "model.onnx"):
        lay_beside(library, step.out)
    if provider == "cuda":
        replay_whole_graphs(step.out / "genai_config.json")


def replay_whole_graphs(genai_config: Path) -> None:
    """CUDA graph capture: a token's hundreds of kernels are started at once."""
    config = json.loads(genai_config.read_text(encoding="utf-8"))
    session = config["model"]["decoder"].setdefault("session_options", {})
    session["provider_options"] = [{"cuda": {**_cuda_of(session), "enable_cuda_graph": "1"}}]
    genai_config.write_text(json.dumps(config, indent=4), encoding="utf-8")


def _cuda_of(session: dict) -> dict:
    return next((given["cuda"] for given in session.get("provider_options", []) if "cuda" in given), {})


def rounding_options(step: Step, provider: str, precision: str) -> dict[str, Any]:
    """The builder with our rounding. To the builder itself 8 bits are a kind of int4, and what stays in floats is an exception."""
    is_on_grid = (step.inputs["model"] / GRID_FILE).exists()
    head = step.option("lm_head", "int8") if precision == "int4" else "int8"
    rounding = {
        "bits": BITS[precision],
        "head_bits": HEAD_BITS[head],
        "group_size": step.option("block_size", 32),
        "symmetric": bool(step.option("symmetric", False)),
        "is_searched": not is_on_grid,
        "accuracy_level": ACTIVATIONS[provider],
        "int8": list(step.option("int8", [])),
        "keep": list(step.option("keep", [])),
    }
    float_head = {"int4_nodes_to_exclude": ["/lm_head/MatMul"]} if head == "float" else {}
    return {"type": "RoundingBuilder", "precision": "int4", "rounding": rounding, **float_head}


def counted_projections(graph: Path) -> dict[str, float]:
    """How many projections the graph has in each precision."""
    import onnx

    nodes = onnx.load(graph, load_external_data=False).graph.node
    bits = [attribute.i for node in nodes if node.op_type == "MatMulNBits" for attribute in node.attribute if attribute.name == "bits"]
    floats = [node for node in nodes if node.op_type == "MatMul" and "/lora/" not in node.name and "/lora_" not in node.name]
    return {"graph.int4_projections": bits.count(4), "graph.int8_projections": bits.count(8), "graph.float_projections": len(floats)}


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
