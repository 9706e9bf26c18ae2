"""Which base model an adapter was trained on, and a graph was exported from: one short hash, left beside both."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

from step_io import StepError

MARK_FILE = "base.json"
METADATA_KEY = "edge.base"
"""Under which an exported graph holds the mark of its base."""
_LOOKED_AT = 4096
"""Numbers of each tensor: enough to tell two models apart without reading gigabytes."""


def mark_of(model: Path) -> str:
    """A hash of a model's tensors: names, shapes, types, and the first values of each; empty where it has no safetensors."""
    files = sorted(file for file in model.glob("*.safetensors") if file.name != "grid.safetensors")
    if not files:
        return ""
    from safetensors import safe_open

    parts = []
    for file in files:
        with safe_open(file, framework="pt") as opened:
            parts += [(name, _looked_at(opened.get_slice(name))) for name in opened.keys()]  # noqa: SIM118 (no iterator)
    digest = hashlib.sha256()
    for name, content in sorted(parts):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:32]


def _looked_at(tensor) -> bytes:
    import torch

    shape = tensor.get_shape()
    rows = max(1, _LOOKED_AT // max(1, math.prod(shape[1:]))) if shape else 1
    values = tensor[:rows] if shape else tensor[:]
    content = values.contiguous().flatten()[:_LOOKED_AT].view(torch.uint8).numpy().tobytes()
    return f"{shape} {tensor.get_dtype()} ".encode() + content


def leave_mark(model: Path, out: Path) -> None:
    """Note in `out` which model it was made from."""
    (out / MARK_FILE).write_text(json.dumps({"mark": mark_of(model)}), encoding="utf-8")


def read_mark(folder: Path) -> str:
    """The mark beside an adapter; empty where it was made before there were marks."""
    try:
        return str(json.loads((folder / MARK_FILE).read_text(encoding="utf-8"))["mark"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def check_same_base(adapter: Path, mark: str, what: str) -> None:
    """
    Raises:
        StepError: the adapter was trained on another base than `what`, whose mark is `mark`.
    """
    trained_on = read_mark(adapter)
    if trained_on and mark and trained_on != mark:
        raise StepError(
            f"The adapter was trained on another base model ({trained_on[:12]}) than {what} ({mark[:12]}).",
            "Their shapes agree, their weights do not: train it on this base, or export the base it was trained on.",
        )
