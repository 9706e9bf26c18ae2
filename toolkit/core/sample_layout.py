"""How a Llama in GGUF becomes a Hugging Face folder: names, the order of rows in q and k, config and tokenizer files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, ReaderTensor, dequantize

SPECIAL = 3
"""The token type in GGUF that means: never split, never shown."""

_TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Weight:
    """One tensor under its Hugging Face name, read when asked for."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def fields_of(gguf: GGUFReader) -> dict[str, Any]:
    """The file's metadata as plain values."""
    return {name: field.contents() for name, field in gguf.fields.items()}


def weights(gguf: GGUFReader, fields: dict[str, Any]) -> list[Weight]:
    """All tensors, in the file's order; `fields` are the file's own."""
    return [_weight(tensor, fields) for tensor in gguf.tensors]


def _weight(tensor: ReaderTensor, fields: dict[str, Any]) -> Weight:
    parts = tensor.name.split(".")
    shape = tuple(int(size) for size in reversed(tensor.shape))  # GGUF counts columns first
    if parts[0] != "blk":
        return Weight(f"{_TOP_NAMES[parts[0]]}.weight", shape, lambda: _values(tensor))
    name = f"model.layers.{parts[1]}.{_BLOCK_NAMES[parts[2]]}.weight"
    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }.get(parts[2])
    if heads is None:
        return Weight(name, shape, lambda: _values(tensor))
    return Weight(name, shape, lambda: halves_together(_values(tensor), heads))


def _values(tensor: ReaderTensor) -> np.ndarray:
    return dequantize(tensor.data, tensor.tensor_type)


def halves_together(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k in Hugging Face's order.

    GGUF turns neighbouring rows of a head as a pair; Hugging Face turns row i with row i + half of the head.
    """
    pairs = rows.reshape(heads, -1, 2, rows.shape[-1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def save_tensors(path: Path, tensors: list[Weight], progress: Callable[[int, int], None]) -> None:
    """A safetensors file of float16, written tensor by tensor so that only one is in memory."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + 2 * int(np.prod(tensor.shape))
        header[tensor.name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for number, tensor in enumerate(tensors, start=1):
            out.write(tensor.read().astype("<f2").tobytes())
            progress(number, len(tensors))


def config_files(fields: dict[str, Any], tied: bool) -> dict[str, str]:
    """Everything beside the weights, by file name."""
    return {
        "config.json": _as_text(_config(fields, tied)),
        "generation_config.json": _as_text(_special_ids(fields)),
        "tokenizer.json": json.dumps(_tokenizer(fields), ensure_ascii=False),
        "tokenizer_config.json": _as_text(_tokenizer_config(fields)),
        "chat_template.jinja": fields["tokenizer.chat_template"],
    }


def _special_ids(fields: dict[str, Any]) -> dict[str, int]:
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return {f"{ours}_token_id": fields[f"tokenizer.ggml.{theirs}_token_id"] for ours, theirs in names.items()}


def _config(fields: dict[str, Any], tied: bool) -> dict[str, Any]:
    heads, hidden = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        **_special_ids(fields),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": round(hidden**-0.5, 6),
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.3g}"),
        "rope_scaling": None,
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": tied,
        "torch_dtype": "float16",
        "use_cache": True,
        "vocab_size": fields["llama.vocab_size"],
    }


def _tokenizer(fields: dict[str, Any]) -> dict[str, Any]:
    """A byte-level BPE that splits numbers into single digits first, which is what GGUF calls `smollm`."""
    tokens = fields["tokenizer.ggml.tokens"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, **_added_token(text)} for number, text in _special_tokens(fields)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: number for number, text in enumerate(tokens)},
            "merges": [merge.split(" ", 1) for merge in fields["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
        "added_tokens_decoder": {str(number): _added_token(text) for number, text in _special_tokens(fields)},
        **{f"{ours}_token": tokens[fields[f"tokenizer.ggml.{theirs}_token_id"]] for ours, theirs in roles.items()},
        "chat_template": fields["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
    }


def _special_tokens(fields: dict[str, Any]) -> list[tuple[int, str]]:
    kinds = fields["tokenizer.ggml.token_type"]
    return [(number, text) for number, text in enumerate(fields["tokenizer.ggml.tokens"]) if kinds[number] == SPECIAL]


def _added_token(text: str) -> dict[str, Any]:
    return {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def _as_text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
