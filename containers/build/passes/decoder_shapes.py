"""Which linear layers of a decoder read the same input, and where a scale on that input can be folded.

Known: Llama (SmolLM2 and its kind) and Phi-3, whose q, k, v and gate, up are fused. Anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

KNOWN_MODEL_TYPES = ("llama", "phi3")


class UnknownDecoder(ValueError):
    """This architecture has no folding rules here."""


@dataclass(frozen=True)
class Fold:
    """Linear layers that read one input. Their columns are multiplied by a scale, its source is divided by it."""

    name: str
    """attention, output, mlp or down: what the input goes into."""
    readers: tuple[nn.Linear, ...]
    source: nn.Module
    """The norm or the linear layer that makes the input."""
    source_rows: slice | None = None
    """The rows of a linear source; None for a norm."""
    repeats: int = 1
    """How many heads share one row of the source (grouped-query attention)."""
    head_size: int = 1

    def shared(self, scales: torch.Tensor) -> torch.Tensor:
        """Scales for the inputs, made equal (geometric mean) where the source cannot tell inputs apart."""
        if self.repeats == 1:
            return scales
        heads = scales.log().view(-1, self.repeats, self.head_size)
        return heads.mean(1, keepdim=True).expand_as(heads).reshape(-1).exp()

    def apply(self, scales: torch.Tensor) -> None:
        """Fold. The model computes the same as before."""
        for linear in self.readers:
            linear.weight.data.mul_(scales)
        if self.repeats > 1:
            scales = scales.view(-1, self.repeats, self.head_size)[:, 0].reshape(-1)
        rows = self.source_rows or slice(None)
        weight = self.source.weight.data[rows]
        weight.div_(scales if weight.dim() == 1 else scales.unsqueeze(1))
        if getattr(self.source, "bias", None) is not None:
            self.source.bias.data[rows].div_(scales)


def check_known(config) -> None:
    """
    Raises:
        UnknownDecoder: the model is neither a Llama nor a Phi-3.
    """
    if config.model_type not in KNOWN_MODEL_TYPES:
        raise UnknownDecoder(f"No folding rules for models of type {config.model_type}.")
    if getattr(config, "hidden_act", "silu") != "silu":
        raise UnknownDecoder(f"No folding rules for the activation {config.hidden_act}.")


def folds_of(layer: nn.Module, config) -> tuple[Fold, ...]:
    """The folds of one decoder layer, in the order they are searched."""
    attention, mlp = layer.self_attn, layer.mlp
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    key_heads = config.num_key_value_heads or config.num_attention_heads
    values = key_heads * head_size
    if config.model_type == "phi3":
        before = attention.qkv_proj.weight.shape[0] - values
        into_attention, value_source = (attention.qkv_proj,), (attention.qkv_proj, slice(before, before + values))
        middle = mlp.down_proj.weight.shape[1]
        into_mlp, up_source = (mlp.gate_up_proj,), (mlp.gate_up_proj, slice(middle, 2 * middle))
    else:
        into_attention = (attention.q_proj, attention.k_proj, attention.v_proj)
        value_source = (attention.v_proj, None)
        into_mlp, up_source = (mlp.gate_proj, mlp.up_proj), (mlp.up_proj, None)
    repeats = config.num_attention_heads // key_heads
    return (
        Fold("attention", into_attention, layer.input_layernorm),
        Fold("output", (attention.o_proj,), *value_source, repeats=repeats, head_size=head_size),
        Fold("mlp", into_mlp, layer.post_attention_layernorm),
        Fold("down", (mlp.down_proj,), *up_source),
    )


def may_clip(fold: Fold, linear: nn.Linear) -> bool:
    """Queries and keys are left unclipped: their errors multiply in the attention scores."""
    return fold.name != "attention" or linear is fold.readers[-1]
