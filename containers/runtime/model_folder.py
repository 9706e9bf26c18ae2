"""What a model folder says of itself in `genai_config.json`."""

from __future__ import annotations

import json
from pathlib import Path

from model import ModelError

DEFAULT_MAX_LENGTH = 4096
"""Prompt plus answer, in tokens, where nobody says otherwise and the model would take more: the key-value cache of a
long context may not fit a small device."""

LONG_ROPE = {"phi3": 4096, "phimoe": 4096, "phi3small": 8192}
"""Kinds of model that place tokens otherwise once a sequence is longer than this, all of it: what was kept of a shorter one is of no use then."""


def read_config(folder: Path) -> dict:
    """The configuration of the folder's model.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    path = folder / "genai_config.json"
    try:
        config = json.loads(path.read_text())
        if "context_length" in config["model"] and "eos_token_id" in config["model"]:
            return config
        raise ModelError(f"{path} does not say what the model is. Export the model again.")
    except (KeyError, TypeError):
        raise ModelError(f"{path} is no model's configuration. Export the model again.") from None
    except FileNotFoundError:
        raise ModelError(f"No model in {folder}: genai_config.json is missing. Give the folder of an export.") from None
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path} cannot be read: {exc}. Export the model again.") from exc


def decoder_settings(folder: Path) -> dict:
    return read_config(folder)["model"]["decoder"]


def longest(config: dict, asked: int) -> int:
    """Tokens of prompt and answer together: what was asked for, as far as the model goes."""
    return min(asked or DEFAULT_MAX_LENGTH, int(config["model"]["context_length"]))


def longest_reusable(config: dict) -> int:
    """Length up to which a key-value cache stays good as the sequence grows."""
    return LONG_ROPE.get(config["model"].get("type", ""), int(config["model"]["context_length"]))


def eos_ids(config: dict) -> frozenset[int]:
    ids = config["model"]["eos_token_id"]
    return frozenset(ids if isinstance(ids, list) else [ids])


def kv_bytes_per_token(config: dict, item_size: int) -> int:
    """Of the key-value cache; 0 where the configuration does not say enough."""
    decoder = config["model"].get("decoder", {})
    try:
        return 2 * decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"] * item_size
    except KeyError:
        return 0


def is_batchable(config: dict, max_length: int) -> bool:
    """Whether the graph takes rows of different lengths: keys and values of every layer go in and out through one buffer."""
    decoder = config["model"].get("decoder", {})
    inputs, outputs = decoder.get("inputs", {}), decoder.get("outputs", {})
    return (
        inputs.get("past_key_names") == "past_key_values.%d.key"
        and outputs.get("present_key_names") == "present.%d.key"
        and bool(config.get("search", {}).get("past_present_share_buffer"))
        and "sliding_window" not in decoder
        and max_length <= longest_reusable(config)
    )


def find_adapters(folder: Path | None) -> dict[str, Path]:
    """Adapter files of a folder by name; none where there is no such folder."""
    if folder is None or not folder.is_dir():
        return {}
    return {path.name.removesuffix(".onnx_adapter"): path for path in sorted(folder.glob("*.onnx_adapter"))}
