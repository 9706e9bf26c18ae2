"""What our steps hand to Olive, as `olive run --config` takes it: one configuration for each step that runs Olive.

The steps compute these options inside the build image, from the same plan; the toolkit never imports them. So the mapping is
written here a second time, and a test runs the real steps against a stand-in for Olive and holds both against each other, key
for key. Paths are those of the run folder. `rows` names the file whose rows the step hands over as token ids.

Passes: ModelBuilder is Olive's own; FoldedRounding, GptqOnGrid, MergedAdapter, LoRAWithEvents, RoundingBuilder, SharedEmbedding and
LoraInputs are ours, in containers/build/passes; Olive learns of them by `--package-config`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OWN_PASSES = ("FoldedRounding", "GptqOnGrid", "MergedAdapter", "LoRAWithEvents", "RoundingBuilder", "SharedEmbedding", "LoraInputs")
"""Custom passes of containers/build/passes."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_SEPARATE_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LINEAR_LAYERS = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), _SEPARATE_LAYERS),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
}
"""What a recipe without targets trains, by the model's type."""
TRAINING = (
    "learning_rate", "scheduler", "warmup_ratio", "epochs", "max_steps", "batch_size", "gradient_accumulation", "micro_batch",
    "rows", "patience", "evaluate_every",
)  # fmt: skip
"""What LoRAWithEvents takes beyond Olive's own LoRA pass."""
UNKNOWN = "known once the model is here"
BITS = {"int4": 4, "int8": 8, "float": 16}
ACTIVATIONS = {"cpu": 4, "cuda": 2}

Config = dict[str, Any]


def olive_configs(steps: Iterable[dict], model_config: Config | None, auto_dtype: str = "") -> dict[str, Config]:
    """The configuration of each step that runs Olive, by the step's name. `model_config` is the model's config.json, where it is here."""
    steps = list(steps)
    dtype = auto_dtype or fastest_dtype()
    on_grid, found = _on_grid(steps), {}
    for step in steps:
        passes, data = _passes_and_data(step, model_config, dtype, step["inputs"].get("model", {}).get("step") in on_grid)
        if passes:
            found[step["name"]] = _configuration(step, passes, data)
    return found


def _on_grid(steps: list[dict]) -> set[str]:
    """The steps that leave weights on a grid: those that quantize, and those that fold an adapter into what these have made."""
    found = {step["name"] for step in steps if step["kind"] == "quantize" and step["options"]["algorithm"] != "none"}
    return found | {step["name"] for step in steps if step["kind"] == "merge" and step["inputs"]["model"].get("step") in found}


def as_text(configs: dict[str, Config]) -> str:
    """JSON with what is short on one line."""
    return _dumped(configs, "")


def fastest_dtype(cpu_facts: Path = Path("/proc/cpuinfo")) -> str:
    """What `dtype = "auto"` means on this machine's processor: bfloat16 where it multiplies it natively."""
    try:
        words = set(cpu_facts.read_text("utf-8", "replace").split())
    except OSError:
        return "float32"
    return "bfloat16" if words & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def _passes_and_data(step: dict, model_config: Config | None, dtype: str, is_on_grid: bool) -> tuple[Config, list[Config]]:
    options, inputs = step["options"], step["inputs"]
    match step["kind"]:
        case "quantize" if options["algorithm"] != "none":
            dataset = "edge_sequences" if options["algorithm"] == "gptq" else "edge_rows"
            data = [_data("calibration", inputs["calibration"], dataset)] if "calibration" in inputs else []
            return {"round": _rounding(options)}, data
        case "finetune":
            data = [_data(name, inputs[name]) for name in ("train", "held_out") if name in inputs]
            return {"lora": _lora(step, model_config, dtype)}, data
        case "merge":
            data = [_data("calibration", inputs["calibration"])] if options["rounds"] else []
            return {"merge": _merging(options, inputs)}, data
        case "export":
            is_rounded = is_on_grid and (options["precision"] == "int4" or "adapter" not in options)
            return _export(options, model_config, is_rounded), []
    return {}, []


def _configuration(step: dict, passes: Config, data: list[Config]) -> Config:
    provider = step["options"].get("provider", "cpu")
    accelerator = {"device": "gpu" if provider == "cuda" else "cpu", "execution_providers": [PROVIDERS[provider]]}
    kwargs = {"attn_implementation": "sdpa", "trust_remote_code": step["options"]["trust_remote_code"]}
    return {
        "input_model": {"type": "HfModel", "model_path": _path(step["inputs"]["model"]), "load_kwargs": kwargs},
        "data_configs": data,
        "passes": passes,
        "systems": {"here": {"type": "LocalSystem", "accelerators": [accelerator]}},
        "host": "here",
        "target": "here",
        "output_dir": f"steps/{step['name']}/out",
        "no_artifacts": True,
        "log_severity_level": 1,
    }


def _path(given: dict) -> str:
    return f"steps/{given['step']}/out" if "step" in given else given["path"]


def _data(name: str, given: dict, dataset: str = "edge_rows") -> Config:
    return {
        "name": name,
        "load_dataset_config": {"type": dataset, "params": {"rows": _path(given)}},
        "pre_process_data_config": {"type": "skip_pre_process"},
    }


def _rounding(options: Config) -> Config:
    algorithm, keep = options["algorithm"], {"keep": options["keep"]} if options.get("keep") else {}
    kept = {name: options[name] for name in ("bits", "group_size")} | keep
    data = {} if algorithm == "rtn" else {"data_config": "calibration"}
    if algorithm == "gptq":
        return {"type": "GptqOnGrid", **kept, "sym": options["symmetric"], **data}
    return {"type": "FoldedRounding", "is_aware": algorithm == "awq", **kept, "symmetric": options["symmetric"], **data}


def _merging(options: Config, inputs: Config) -> Config:
    kept = {name: options[name] for name in ("rounds", "bits", "group_size", "symmetric", "keep") if name in options}
    data = {"data_config": "calibration"} if options["rounds"] else {}
    return {"type": "MergedAdapter", "adapter": _path(inputs["adapter"]), **kept, **data}


def _lora(step: dict, model_config: Config | None, dtype: str) -> Config:
    options = step["options"]
    return {
        "type": "LoRAWithEvents",
        "r": options["rank"],
        "alpha": options["alpha"],
        "lora_dropout": options["dropout"],
        "target_modules": _targets(options, model_config),
        "torch_dtype": dtype if options["dtype"] == "auto" else options["dtype"],
        "seed": options["seed"],
        "train_data_config": "train",
        "training": {name: options[name] for name in TRAINING},
        "scratch": f"steps/{step['name']}/training",
        **({"eval_data_config": "held_out"} if "held_out" in step["inputs"] else {}),
    }


def _targets(options: Config, model_config: Config | None) -> Any:
    if options["targets"]:
        return list(options["targets"])
    return list(LINEAR_LAYERS.get((model_config or {}).get("model_type", ""), ())) or UNKNOWN


def _export(options: Config, model_config: Config | None, is_on_grid: bool) -> Config:
    precision, provider = options["precision"], options["provider"]
    passes: Config = {"build": {"type": "ModelBuilder", "precision": precision}}
    if precision in ("int4", "int8"):
        passes["build"] = _rounding_builder(options, precision, provider, is_on_grid)
        if model_config is None or model_config.get("tie_word_embeddings"):
            passes["share"] = {"type": "SharedEmbedding"} | ({} if model_config else {"only": "where the embedding is tied; " + UNKNOWN})
    is_merged = options.get("adapters") == "merged"
    if not is_merged or provider == "cuda":
        layout = {} if is_merged else _layout(options, model_config)
        passes["adapters"] = {"type": "LoraInputs", "layout": layout, "platform": options["platform"], "provider": provider}
    return passes


def _rounding_builder(options: Config, precision: str, provider: str, is_on_grid: bool) -> Config:
    """To the builder itself 8 bits are a kind of int4; which projection gets how many is ours."""
    head = options["lm_head"] if precision == "int4" else "int8"
    rounding = {
        "bits": BITS[precision], "head_bits": BITS[head], "group_size": options["block_size"], "symmetric": options["symmetric"],
        "is_searched": not is_on_grid, "accuracy_level": ACTIVATIONS[provider],
        "int8": options.get("int8", []), "keep": options.get("keep", []),
    }  # fmt: skip
    float_head = {"int4_nodes_to_exclude": ["/lm_head/MatMul"]} if head == "float" else {}
    return {"type": "RoundingBuilder", "precision": "int4", "rounding": rounding, **float_head}


def _widths(config: Config) -> dict[str, int]:
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    keys = head * (config.get("num_key_value_heads") or heads)
    return {"hidden": config["hidden_size"], "queries": heads * head, "keys": keys, "middle": config["intermediate_size"]}


def _layout(options: Config, model_config: Config | None) -> Any:
    """Which rows of which layers stand behind each projection of the graph."""
    targets = _targets(options, model_config)
    if model_config is None or targets == UNKNOWN:
        return UNKNOWN
    projections = _projections(_widths(model_config), model_config.get("model_type") == "phi3")
    parts = {
        name: [
            {"layer": layer, "start": start, "rows": rows, "is_trained": layer.rpartition(".")[2] in targets}
            for layer, start, rows in found
        ]
        for name, found in projections.items()
    }
    return {name: found for name, found in parts.items() if any(part["is_trained"] for part in found)}


def _projections(widths: dict[str, int], is_fused: bool) -> dict[str, list[tuple[str, int, int]]]:
    """(layer, first row, rows) behind each projection; q, k, v or gate and up may lie in one layer."""
    queries, keys, middle, hidden = widths["queries"], widths["keys"], widths["middle"], widths["hidden"]
    starts = {"q": 0, "k": queries, "v": queries + keys} if is_fused else dict.fromkeys("qkv", 0)
    sizes = {"q": queries, "k": keys, "v": keys}
    qkv = {one: ("self_attn.qkv_proj" if is_fused else f"self_attn.{one}_proj", starts[one], sizes[one]) for one in "qkv"}
    gate_up = [("mlp.gate_up_proj", 0), ("mlp.gate_up_proj", middle)] if is_fused else [("mlp.gate_proj", 0), ("mlp.up_proj", 0)]
    return {
        "attn.qkv_proj": [("self_attn.qkv_proj", 0, queries + 2 * keys)] if is_fused else list(qkv.values()),
        **{f"attn.{one}_proj": [qkv[one]] for one in "qkv"},
        "attn.o_proj": [("self_attn.o_proj", 0, hidden)],
        "mlp.gate_proj": [(*gate_up[0], middle)],
        "mlp.up_proj": [(*gate_up[1], middle)],
        "mlp.down_proj": [("mlp.down_proj", 0, hidden)],
    }


def _dumped(value: Any, indent: str, width: int = 88) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(indent) + len(flat) <= width and not _is_deep(value):
        return flat
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _dumped(item, inner) for item in value) + f"\n{indent}]"
    lines = (f"{inner}{json.dumps(str(key))}: {_dumped(item, inner)}" for key, item in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _is_deep(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(item, dict) for item in value.values())
