"""Which linear layers of a decoder read the same input, and where a scale on that input can be folded.

Llama (SmolLM2 and its kind), Mistral, Qwen 2 and Qwen 3 have a layer each for q, k, v, gate and up; Phi-3 has q, k, v in one and
gate, up in another. Biases (Qwen 2) and norms of queries and keys (Qwen 3) stand behind the linear layers and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from decoder_types import FUSED

if TYPE_CHECKING:
    import torch
    from torch import nn


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
    unbounded_rows: int = 0
    """So many rows of the readers, counted through all of them, make queries and keys: their errors multiply in the attention scores."""
    rounded: tuple[nn.Linear, ...] = ()
    """The readers that are rounded, where that is decided."""

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

    def first_bounded_row(self, reader: nn.Linear) -> int:
        """From which row on the grid of a reader may leave large weights out."""
        before = 0
        for linear in self.readers:
            if linear is reader:
                break
            before += linear.weight.shape[0]
        return min(max(self.unbounded_rows - before, 0), reader.weight.shape[0])


def folds_of(layer: nn.Module, config) -> tuple[Fold, ...]:
    """The folds of one decoder layer, in the order they are searched."""
    attention, mlp = layer.self_attn, layer.mlp
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    key_heads = config.num_key_value_heads or config.num_attention_heads
    values = key_heads * head_size
    before_values = config.num_attention_heads * head_size + values
    if config.model_type in FUSED:
        into_attention, value_source = (attention.qkv_proj,), (attention.qkv_proj, slice(before_values, before_values + values))
        middle = mlp.down_proj.weight.shape[1]
        into_mlp, up_source = (mlp.gate_up_proj,), (mlp.gate_up_proj, slice(middle, 2 * middle))
    else:
        into_attention = (attention.q_proj, attention.k_proj, attention.v_proj)
        value_source = (attention.v_proj, None)
        into_mlp, up_source = (mlp.gate_proj, mlp.up_proj), (mlp.up_proj, None)
    repeats = config.num_attention_heads // key_heads
    return (
        Fold("attention", into_attention, layer.input_layernorm, unbounded_rows=before_values),
        Fold("output", (attention.o_proj,), *value_source, repeats=repeats, head_size=head_size),
        Fold("mlp", into_mlp, layer.post_attention_layernorm),
        Fold("down", (mlp.down_proj,), *up_source),
    )
