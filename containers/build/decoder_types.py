"""What is known of decoders by the `model_type` of their config.json. Needs no PyTorch."""

from __future__ import annotations

FUSED = ("phi3",)
"""Types whose q, k, v are one linear layer, and whose gate and up are another."""

_SEPARATE_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_FUSED_LAYERS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")

LINEAR_LAYERS = {
    "llama": _SEPARATE_LAYERS,
    "mistral": _SEPARATE_LAYERS,
    "phi3": _FUSED_LAYERS,
    "qwen2": _SEPARATE_LAYERS,
    "qwen3": _SEPARATE_LAYERS,
}
"""All linear layers of a block: what is rounded, and what is trained where the recipe names no targets."""

KNOWN_MODEL_TYPES = tuple(LINEAR_LAYERS)


class UnknownDecoder(ValueError):
    """This architecture has no folding rules here."""


def check_known(config: dict) -> None:
    """
    Raises:
        UnknownDecoder: the model is of no known type, or one of its layers computes something else than the type's do.
    """
    model_type, activation = config.get("model_type", "that is not named"), config.get("hidden_act", "silu")
    if model_type not in KNOWN_MODEL_TYPES:
        raise UnknownDecoder(f"No folding rules for models of type {model_type}; known are {', '.join(KNOWN_MODEL_TYPES)}.")
    if activation not in ("silu", "swish"):
        raise UnknownDecoder(f"No folding rules for the activation {activation}; known is silu.")
