"""What a build was made from and with: content of its inputs, versions of its tools. Standard library only."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cache import ContentHashes

TOOLS = (
    "olive-ai", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxruntime-genai", "onnxruntime-genai-cuda", "torch", "transformers", "peft",
)  # fmt: skip
"""Distributions whose versions tell most about what came out."""


def tools() -> dict[str, str]:
    """Version of each tool that is installed, by name."""
    found = {}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def inputs(run: Path, steps: list[dict], hashes: ContentHashes) -> dict[str, str]:
    """sha256 of everything the steps read that none of them made: of a file its own, of a folder that of its listing.

    What lies in the run's folder goes by its path there, the model by `model`.
    """
    found: dict[str, str] = {}
    for step in steps:
        for name, value in step["inputs"].items():
            path = Path(value.get("path", ""))
            if "path" not in value or not path.exists():
                continue
            is_ours = path.is_relative_to(run)
            key = path.relative_to(run).as_posix() if is_ours else "model" if name in ("model", "base") else name
            found[key] = hashes.of_file(path) if path.is_file() else hashes.of(path).sha256
    return found
