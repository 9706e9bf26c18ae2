"""Models and adapters of random bytes: as large as real ones, and nothing in them compresses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from tests import exported
from tests.bench.measure import Skipped
from tests.services.fixtures import state
from toolkit.core import packaging
from toolkit.core.engine import Image
from toolkit.core.files import write_json
from toolkit.core.run import Run, new_run
from toolkit.docker_engine import DockerEngine, connect
from toolkit.errors import EngineMissing

DEVICE = "cpu"
ADAPTERS = ("travel", "persona")


def engine_and_base() -> tuple[DockerEngine, Image]:
    """The engine that answers here, and an image in it to build on.

    Raises:
        Skipped: there is none.
    """
    try:
        engine = DockerEngine(connect())
    except EngineMissing as exc:
        raise Skipped("no Docker engine answers") from exc
    base = engine.find(state().get("base_image") or "debian:12-slim")
    if base is None:
        raise Skipped("there is no base image; tests/services/up.sh makes one")
    return engine, base


def write_random(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # never write through a hard link
    with open(path, "wb") as out:
        for start in range(0, size, 1 << 20):
            out.write(os.urandom(min(1 << 20, size - start)))


def finished_build(runs: Path, model_bytes: int, adapter_bytes: int) -> Run:
    """A build run as the build program leaves it, with random bytes for weights."""
    recipe = {"name": "bench", "export": {"context_length": 0}}
    run = new_run(runs, "build", "bench", lambda _: {"engine": "local", "recipe": recipe, "steps": []})
    model = run.folder / "steps" / f"export-{DEVICE}" / "out"
    write_random(model / "model.onnx.data", model_bytes)
    (model / "genai_config.json").write_text(json.dumps({"model": {"context_length": 2048}}))
    exported.graph(model / "model.onnx", {"input_ids": ("batch", "length"), exported.ADAPTER_INPUT: (8, "rank")})
    for name in ADAPTERS:
        write_adapter(adapter_file(run, name), adapter_bytes)
    write_manifest(run)
    return run


def write_adapter(path: Path, size: int) -> None:
    """An adapter that fits the graph, of about that many bytes; another one each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # never write through a hard link
    values = np.random.default_rng().standard_normal((8, size // 32), dtype=np.float32)
    exported.adapter(path, {exported.ADAPTER_INPUT: values})


def adapter_file(build: Run, name: str) -> Path:
    return build.folder / "steps" / f"adapter-{DEVICE}-{name}" / "out" / f"{name}.onnx_adapter"


def write_manifest(build: Run) -> None:
    """What the build made, by its hashes as they are now."""
    steps = (f"export-{DEVICE}", *(f"adapter-{DEVICE}-{name}" for name in ADAPTERS))
    made = [
        {"step": step, "path": f"steps/{step}/out", "sha256": packaging.folder_digest(build.folder / "steps" / step / "out")}
        for step in steps
    ]
    write_json(build.folder / "manifest.json", {"format": 1, "run": build.id, "artifacts": made})
