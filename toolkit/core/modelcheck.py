"""Is this folder a model we can build from? Looked at before anything long starts. Standard library only."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.core.safetensors_header import BadTensors, TensorEntry, read_header
from toolkit.errors import ModelError

EXPORTABLE = frozenset(
    {
        "ChatGLMForConditionalGeneration",
        "ChatGLMModel",
        "Ernie4_5ForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "GemmaForCausalLM",
        "GptOssForCausalLM",
        "GraniteForCausalLM",
        "HunYuanDenseV1ForCausalLM",
        "InternLM2ForCausalLM",
        "Lfm2ForCausalLM",
        "LlamaForCausalLM",
        "Mistral3ForConditionalGeneration",
        "MistralForCausalLM",
        "NemotronForCausalLM",
        "OlmoForCausalLM",
        "Phi3ForCausalLM",
        "Phi3SmallForCausalLM",
        "Phi3VForCausalLM",
        "Phi4MMForCausalLM",
        "PhiForCausalLM",
        "PhiMoEForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3ForCausalLM",
        "Qwen3VLForConditionalGeneration",
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5MoeForConditionalGeneration",
        "SmolLM3ForCausalLM",
        "VideoChatFlashQwenForCausalLM",
    }
)
"""Text generators that the model builder of onnxruntime-genai 0.14.1 knows (Whisper is left out: it hears)."""

KNOWN_LAYERS = frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Phi3ForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})
"""What the build knows the layers of; every way of quantizing needs that."""

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
FETCH_AGAIN = "Fetch the model again."


@dataclass(frozen=True)
class ModelFacts:
    """What a whole model folder says about itself."""

    folder: Path
    parameters: int
    bytes: int
    """Of all weights as they lie on the disk."""
    architecture: str
    dtype: str
    """Of most parameters: F32, F16, BF16."""
    layers: int
    hidden: int
    vocab: int
    context: int
    """Longest text in tokens; 0 when config.json does not say."""
    tied: bool
    """The output layer shares its weights with the embedding."""
    custom_code: bool
    """The folder brings Python code of its own."""
    projections: tuple[str, ...] = ()
    """Linear layers of its blocks by the last part of their name: what an adapter can be laid on."""


def check_model(folder: Path, algorithm: str = "none", trust_remote_code: bool = False) -> ModelFacts:
    """The folder's facts, when it is whole and of a kind that every step of the recipe can work on.

    Raises:
        ModelError: it is not, with the reason and the way out.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder.", "Correct the model's source in the recipe.")
    config = _config(folder)
    _refuse_quantized(folder, config)
    architecture = _architecture(folder, config, algorithm)
    custom_code = _custom_code(folder, config, trust_remote_code)
    _require_tokenizer(folder)
    return _facts(folder, config, architecture, custom_code, _tensors(folder))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.exists():
        if (folder / "adapter_config.json").exists():
            base = _adapter_base(folder)
            hint = f"Give the base model {base}; adapters are trained by the recipe." if base else "Give its base model."
            raise ModelError(f"{folder} holds only an adapter, not a model.", hint)
        if any(folder.glob("*.gguf")):
            raise ModelError(f"{folder} holds a GGUF file, not a Hugging Face model.", "Give the model it was made from.")
        raise ModelError(f"{folder} has no {CONFIG}, so it is no Hugging Face model.", "Name the folder that holds config.json.")
    return _read_json(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as exc:
        raise ModelError(f"{path} cannot be read: {exc}.", FETCH_AGAIN) from exc
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object.", FETCH_AGAIN)
    return value


def _adapter_base(folder: Path) -> str:
    try:
        return str(_read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "")
    except ModelError:
        return ""


def _refuse_quantized(folder: Path, config: dict[str, Any]) -> None:
    about = config.get("quantization_config") or _text_config(config).get("quantization_config")
    if not about:
        return
    method = about.get("quant_method", "an unknown method") if isinstance(about, dict) else "an unknown method"
    message = f"{folder} is quantized already ({method}); training and quantizing need the original weights."
    raise ModelError(message, "Give the float16, bfloat16 or float32 model that it was made from.")


def _architecture(folder: Path, config: dict[str, Any], algorithm: str) -> str:
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise ModelError(f"{folder / CONFIG} names no architecture.", FETCH_AGAIN)
    architecture = named[0]
    if architecture not in EXPORTABLE:
        known = ", ".join(sorted(EXPORTABLE))
        raise ModelError(f"{architecture} cannot be exported: the exporter does not know it.", f"It knows: {known}.")
    if algorithm != "none" and architecture not in KNOWN_LAYERS:
        known = ", ".join(sorted(KNOWN_LAYERS))
        hint = f'Set algorithm = "none" in [quantize], or take one of: {known}.'
        raise ModelError(f"{architecture} cannot be quantized with {algorithm} here.", hint)
    return architecture


def _custom_code(folder: Path, config: dict[str, Any], trusted: bool) -> bool:
    has_code = bool(config.get("auto_map"))
    if has_code and not trusted:
        message = f"{folder} brings Python code of its own (auto_map in {CONFIG})."
        raise ModelError(message, "Read that code; if you trust it, set trust_remote_code = true in [model].")
    return has_code


def _require_tokenizer(folder: Path) -> None:
    if (folder / "tokenizer.json").exists():
        _read_json(folder / "tokenizer.json")
        return
    if (folder / "tokenizer.model").exists() and (folder / "tokenizer_config.json").exists():
        return
    message = f"{folder} has no tokenizer (tokenizer.json, or tokenizer.model with tokenizer_config.json)."
    raise ModelError(message, "Copy the tokenizer files of the model into the folder.")


def _tensors(folder: Path) -> dict[str, TensorEntry]:
    """All weights by name, from one file or from the shards that the index lists."""
    if (folder / INDEX).exists():
        return _sharded(folder)
    if (folder / WEIGHTS).exists():
        return _header(folder / WEIGHTS)
    if any(folder.glob("pytorch_model*.bin")):
        message = f"{folder} holds its weights only as pytorch_model.bin, a format that can run code when it is opened."
        raise ModelError(message, "Load it once and save it with save_pretrained(..., safe_serialization=True).")
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    if shards:
        raise ModelError(f"{folder} has {len(shards)} weight files but no {INDEX} that lists them.", FETCH_AGAIN)
    raise ModelError(f"{folder} has no weights ({WEIGHTS}).", FETCH_AGAIN)


def weights_of(folder: Path) -> dict[str, TensorEntry]:
    """What the headers of a model's weights say, by name.

    Raises:
        ModelError: as `check_model`.
    """
    return _tensors(folder)


def text_settings(folder: Path) -> dict[str, Any]:
    """config.json, where a multimodal model says of its text what it says apart.

    Raises:
        ModelError: as `check_model`.
    """
    config = _config(folder)
    return {**config, **_text_config(config)}


def _sharded(folder: Path) -> dict[str, TensorEntry]:
    places = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelError(f"{folder / INDEX} lists no weights.", FETCH_AGAIN)
    shards = sorted({str(name) for name in places.values()})
    missing = [name for name in shards if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {len(missing)} of {len(shards)} weight files: {', '.join(missing[:3])}.", FETCH_AGAIN)
    tensors = {name: entry for shard in shards for name, entry in _header(folder / shard).items()}
    absent = sorted(set(places) - set(tensors))
    if absent:
        raise ModelError(f"{folder}: {len(absent)} tensors that {INDEX} lists are in no file: {absent[0]}.", FETCH_AGAIN)
    return tensors


def _header(path: Path) -> dict[str, TensorEntry]:
    try:
        tensors = read_header(path)
    except BadTensors as exc:
        hint = "Run `git lfs pull` in the model's folder." if "LFS" in str(exc) else FETCH_AGAIN
        raise ModelError(f"{path}: {exc}.", hint) from exc
    except OSError as exc:
        raise ModelError(f"{path} cannot be read: {exc.strerror}.", "Check its permissions.") from exc
    if not tensors:
        raise ModelError(f"{path} holds no tensors.", FETCH_AGAIN)
    return tensors


def _facts(folder: Path, config: dict[str, Any], architecture: str, custom_code: bool, tensors: dict[str, TensorEntry]) -> ModelFacts:
    text = {**config, **_text_config(config)}
    dtypes: Counter[str] = Counter()
    for entry in tensors.values():
        dtypes[entry.dtype] += entry.parameters
    return ModelFacts(
        folder=folder,
        parameters=dtypes.total(),
        bytes=sum(entry.bytes for entry in tensors.values()),
        architecture=architecture,
        dtype=dtypes.most_common(1)[0][0],
        layers=_whole(folder, text, "num_hidden_layers"),
        hidden=_whole(folder, text, "hidden_size"),
        vocab=_whole(folder, text, "vocab_size"),
        context=_whole(folder, {"max_position_embeddings": 0, **text}, "max_position_embeddings"),
        tied=not any(name.endswith(("lm_head.weight", "output_layer.weight")) for name in tensors),
        custom_code=custom_code,
        projections=tuple(sorted({name.split(".")[-2] for name, entry in tensors.items() if _is_projection(name, entry)})),
    )


def _is_projection(name: str, entry: TensorEntry) -> bool:
    parts = name.split(".")
    return parts[-1] == "weight" and len(entry.shape) == 2 and any(part.isdigit() for part in parts)


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a multimodal model's config that is about text."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else {}


def _whole(folder: Path, config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelError(f"{folder / CONFIG} has no whole number '{name}'.", FETCH_AGAIN)
    return value
