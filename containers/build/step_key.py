"""The key of a step: everything its outputs depend on, in one hash. Standard library only."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from cache import ContentHashes, source_hash


def graph_operators() -> list[str]:
    """The hash of the library that an export lays beside its graph; nothing where there is none."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(sys.prefix, "graph_ops").glob("*.so"))]


class StepKeys:
    """The keys of a run's steps, in order; a step's key holds the keys of the steps it reads from."""

    def __init__(self, hashes: ContentHashes, pins: str, steps_folder: Path) -> None:
        self.hashes, self.pins, self.steps_folder = hashes, pins, steps_folder
        self.known: dict[str, str] = {}
        self.sources: dict[str, str] = {}

    def of(self, step: dict) -> str:
        """The key of `step`.

        Raises:
            OSError: an input cannot be read.
        """
        everything = {
            "kind": step["kind"],
            "options": step["options"],
            "inputs": {name: self._input(value) for name, value in step["inputs"].items()},
            "pins": self.pins,
            "source": self._source(step["kind"]),
        }
        if step["kind"] == "export":
            everything["operators"] = graph_operators()
        text = json.dumps(everything, sort_keys=True, separators=(",", ":"))
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.known[step["name"]] = key
        return key

    def _input(self, value: dict) -> str:
        if "step" in value:
            return f"step {self.known[value['step']]}"
        path = Path(value["path"])
        if not path.exists():
            raise FileNotFoundError(2, "An input is not there", str(path))
        return f"content {self.hashes.of(path).sha256}"

    def _source(self, kind: str) -> str:
        if kind not in self.sources:
            self.sources[kind] = source_hash(self.steps_folder / f"step_{kind}.py")
        return self.sources[kind]
