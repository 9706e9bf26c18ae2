"""What our steps hand to Olive, as `olive run --config` takes it: one configuration for each step that runs Olive.

The steps compute these options inside the build image, from the same plan; the toolkit never imports them. So the mapping is
written here a second time, and a test runs the real steps against a stand-in for Olive and holds both against each other, key
for key. Paths are those of the run folder. `rows` names the file whose rows the step hands over as token ids.

Passes: ModelBuilder is Olive's own; FoldedRounding, LoRAWithEvents, BlockRounding, SharedEmbedding and LoraInputs are ours, in
containers/build/passes; Olive learns of them by `--package-config`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OWN_PASSES = ("FoldedRounding", "LoRAWithEvents", "BlockRounding", "SharedEmbedding", "LoraInputs")
"""Custom passes of containers/build/passes."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
LINEAR_LAYERS = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
}
"""What a recipe without targets trains, by the model's type."""
UNKNOWN = "known once the model is here"
INT8_ACTIVATIONS = 4

Config = dict[str, Any]


def olive_configs(steps: Iterable[dict], model_config: Config | None, auto_dtype: str = "") -> dict[str, Config]:
    """The configuration of each step that runs Olive, by the step's name. `model_config` is the model's config.json, where it is here."""
    steps = list(steps)
    dtype = auto_dtype or fastest_dtype()
    is_on_grid = any(step["kind"] == "quantize" and step["options"]["algorithm"] != "none" for step in steps)
    found = {}
    for step in steps:
        passes, data = _passes_and_data(step, model_config, dtype, is_on_grid)
        if passes:
            found[step["name"]] = _configuration(step, passes, data)
    return found


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
            data = [_data("calibration", inputs["calibration"])] if "calibration" in inputs else []
            return {"round": _rounding(options)}, data
        case "finetune":
            return {"lora": _lora(options, model_config, dtype)}, [_data("train", inputs["train"])]
        case "export":
            return _export(options, model_config, is_on_grid), []
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


def _data(name: str, given: dict) -> Config:
    return {
        "name": name,
        "load_dataset_config": {"type": "edge_rows", "params": {"rows": _path(given)}},
        "pre_process_data_config": {"type": "skip_pre_process"},
    }


def _rounding(options: Config) -> Config:
    is_aware = options["algorithm"] == "awq"
    kept = {name: options[name] for name in ("bits", "group_size", "symmetric")}
    return {"type": "FoldedRounding", "is_aware": is_aware, **kept, **({"data_config": "calibration"} if is_aware else {})}


def _lora(options: Config, model_config: Config | None, dtype: str) -> Config:
    return {
        "type": "LoRAWithEvents",
        "r": options["rank"],
        "alpha": options["alpha"],
        "lora_dropout": options["dropout"],
        "target_modules": _targets(options, model_config),
        "torch_dtype": dtype if options["dtype"] == "auto" else options["dtype"],
        "device_map": None,
        "seed": options["seed"],
        "train_data_config": "train",
        "training_args": _training(options),
    }


def _training(options: Config) -> Config:
    """As on a machine without GPU, which the build image is made for."""
    return {
        "learning_rate": options["learning_rate"],
        "lr_scheduler_type": options["scheduler"],
        "warmup_steps": options["warmup_ratio"],
        "num_train_epochs": options["epochs"],
        "max_steps": options["max_steps"] or -1,
        "per_device_train_batch_size": options["batch_size"],
        "gradient_accumulation_steps": options["gradient_accumulation"],
        "seed": options["seed"],
        "gradient_checkpointing": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def _targets(options: Config, model_config: Config | None) -> Any:
    if options["targets"]:
        return list(options["targets"])
    return list(LINEAR_LAYERS.get((model_config or {}).get("model_type", ""), ())) or UNKNOWN


def _export(options: Config, model_config: Config | None, is_on_grid: bool) -> Config:
    precision, provider = options["precision"], options["provider"]
    passes: Config = {"build": {"type": "ModelBuilder", "precision": precision}}
    if precision == "int4":
        passes["build"] |= {
            "int4_block_size": options["block_size"],
            "int4_is_symmetric": options["symmetric"],
            "int4_algo_config": _algorithm(options, model_config, is_on_grid),
            "int4_accuracy_level": INT8_ACTIVATIONS if provider == "cpu" else 2,
        }
    if precision == "int8":
        passes["build"]["precision"] = "fp32"  # the builder itself knows no int8
        passes["round"] = {
            "type": "BlockRounding", "bits": 8, "block_size": options["block_size"],
            "is_symmetric": False, "accuracy_level": INT8_ACTIVATIONS, "nodes_to_exclude": ["/model/embed_tokens/Gather"],
            "save_as_external_data": True, "external_data_name": "model.onnx.data",
        }  # fmt: skip
    if precision in ("int4", "int8") and (model_config is None or model_config.get("tie_word_embeddings")):
        passes["share"] = {"type": "SharedEmbedding"} | ({} if model_config else {"only": "where the embedding is tied; " + UNKNOWN})
    passes["adapters"] = {"type": "LoraInputs", "layout": _layout(options, model_config)}
    return passes


def _algorithm(options: Config, model_config: Config | None, is_on_grid: bool) -> str:
    if options["symmetric"]:
        return "default"
    if model_config is None:
        return UNKNOWN
    widths = _widths(model_config)
    if any(-(-widths[name] // options["block_size"]) % 2 for name in ("hidden", "queries", "middle")):
        return "default"
    return ("rtn" if is_on_grid else "k_quant") + ("_last" if options["lm_head"] == "int8" else "")


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
