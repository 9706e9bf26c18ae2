"""Models of a few thousand weights, with the real architectures' layers, and a tokenizer that needs no files."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

_SHAPE = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_llama(key_heads: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(**_SHAPE, num_key_value_heads=key_heads, head_dim=16, tie_word_embeddings=True)
    return _awkward(LlamaForCausalLM(config))


def tiny_phi3() -> Phi3ForCausalLM:
    torch.manual_seed(2)
    config = Phi3Config(**_SHAPE, num_key_value_heads=4, original_max_position_embeddings=256)
    return _awkward(Phi3ForCausalLM(config))


def tiny_mistral() -> MistralForCausalLM:
    """With a sliding window, shorter than a calibration row."""
    torch.manual_seed(3)
    return _awkward(MistralForCausalLM(MistralConfig(**_SHAPE, num_key_value_heads=2, head_dim=16, sliding_window=24)))


def tiny_qwen2() -> Qwen2ForCausalLM:
    """With biases on q, k and v."""
    torch.manual_seed(4)
    return _awkward(Qwen2ForCausalLM(Qwen2Config(**_SHAPE, num_key_value_heads=2, tie_word_embeddings=True)))


def tiny_qwen3() -> Qwen3ForCausalLM:
    """With norms of queries and keys, and heads that together are wider than the hidden state."""
    torch.manual_seed(5)
    return _awkward(Qwen3ForCausalLM(Qwen3Config(**_SHAPE, num_key_value_heads=2, head_dim=32)))


def _awkward(model):
    """Norms and a few inputs of very different size, as in trained models: rounding has something to lose."""
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data = torch.exp(torch.randn_like(weight) * 0.8)
        elif weight.dim() == 2:
            weight.data = torch.randn_like(weight) / weight.shape[1] ** 0.5
        else:
            weight.data = torch.randn_like(weight) * 0.3
    return model.eval().float()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "<end>": 1, **{sign: number + 2 for number, sign in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<end>", pad_token="<end>")
    fast.chat_template = CHAT_TEMPLATE
    return fast


TINY = {"llama": tiny_llama, "mistral": tiny_mistral, "phi3": tiny_phi3, "qwen2": tiny_qwen2, "qwen3": tiny_qwen3}
"""A tiny model of each known type."""


def save(model, folder: Path) -> Path:
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def step_file(folder: Path, kind: str, options: dict, inputs: dict[str, Path]) -> Path:
    """What the build program would hand a step of `kind`; its outputs go to `folder/out`."""
    (folder / "out").mkdir(parents=True)
    asked = {"run": str(folder), "name": kind, "kind": kind, "options": options, "out": str(folder / "out")}
    path = folder / "step.json"
    path.write_text(json.dumps({**asked, "inputs": {name: str(value) for name, value in inputs.items()}}))
    return path
