"""A tiny model that has learnt to spell, from a seed: perplexity means something on it. With outliers, as large models have them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tiny_models import tiny_tokenizer
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

SAMPLES = Path(__file__).resolve().parents[3] / "data" / "samples"
LENGTH, STEPS, BATCH = 64, 200, 16


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """(rows to learn and to calibrate on, rows kept from both), a token a byte."""
    rows = [json.loads(line) for line in (SAMPLES / "calibration.jsonl").read_text("utf-8").splitlines()]
    return _rows(" ".join(row["response"] for row in rows)), _rows((SAMPLES / "general.txt").read_text("utf-8"))


def _rows(text: str) -> torch.Tensor:
    ids = torch.tensor(tiny_tokenizer()(text)["input_ids"])
    return ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)


def trained_model() -> LlamaForCausalLM:
    """The same on every call, up to the rounding of the machine."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    model, rows = LlamaForCausalLM(config).float(), texts()[0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    picks = torch.Generator().manual_seed(2)
    with torch.enable_grad():
        for _ in range(STEPS):
            batch = rows[torch.randint(len(rows), (BATCH,), generator=picks)]
            model(batch, labels=batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    with_outliers(model)
    return model.eval()


@torch.no_grad()
def with_outliers(model: LlamaForCausalLM) -> None:
    """Make a few inputs of every layer large. The model computes the same as before."""
    sizes = torch.exp(torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(3)))
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        readers = {layer.input_layernorm: (attention.q_proj, attention.k_proj, attention.v_proj)}
        readers[layer.post_attention_layernorm] = (mlp.gate_proj, mlp.up_proj)
        for norm, linears in readers.items():
            norm.weight.mul_(sizes)
            for linear in linears:
                linear.weight.div_(sizes)


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, rows: torch.Tensor) -> float:
    lost = [
        functional.cross_entropy(model(part).logits[:, :-1].flatten(0, 1), part[:, 1:].flatten()) for part in rows.split(len(rows) // 4)
    ]
    return torch.stack(lost).mean().exp().item()
