"""A home with a finished build and its packaging, made of few bytes without a model and without an engine: something to publish."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tests.fakes import FakeEngine
from tests.paper_engine import PaperEngine
from toolkit.core import events as ev
from toolkit.core.content import folder_digest, write_config
from toolkit.core.files import folder_bytes, sha256_of, write_json
from toolkit.core.hoststeps import HostSteps
from toolkit.core.image_making import LAYOUT_FOLDER
from toolkit.core.images import OwnImage
from toolkit.core.oci_layout import Layout, read
from toolkit.core.run import Run, new_run
from toolkit.core.workbench import Workbench
from toolkit.settings import Settings

RECIPE = {
    "name": "travel",
    "model": {"source": "owner/small", "revision": "abc123", "trust_remote_code": False},
    "adapters": [{"name": "travel", "train": ["train.jsonl"], "held_out": 0.1}],
    "devices": ["cpu"],
}
METRICS = {
    "adapter.perplexity": 1.030292,
    "adapter.fact_accuracy": 0.859375,
    "base.perplexity": 26.207937,
    "base.fact_accuracy": 0.0625,
    "tokens_per_second.adapter": 127.387737,
}
TOOLS = {"olive-ai": "0.13.0", "onnxruntime": "1.26.0", "onnxruntime-genai": "0.14.1"}


@dataclass(frozen=True)
class Packaged:
    """What was packaged, and the run that did it."""

    bench: Workbench
    engine: PaperEngine
    build: Run
    run: Run

    @property
    def content(self) -> Path:
        return self.run.folder / "content"

    @property
    def layout(self) -> Layout:
        return read(self.run.folder / LAYOUT_FOLDER)

    @property
    def name(self) -> str:
        """Of the image."""
        return self.run.request["steps"][0]["options"]["tag"]


def paper_bench(home: Path, engine: PaperEngine | None = None, **more) -> Workbench:
    """A workbench whose engine is of paper; nothing is driven but by hand."""
    driver, engine = FakeEngine(), engine or PaperEngine()
    settings = Settings(home=home)
    if not engine.find(tag := OwnImage("runtime", "cpu").tag(settings)):
        engine.add_base(tag, [b"python" * 50, b"server" * 50])
    return Workbench(
        settings,
        build_engine=lambda name: driver,
        host_driver=lambda secrets: driver,
        image_engine=lambda: engine,
        local_chat=lambda: engine,
        fetch_asset=lambda uri, folder, say: None,
        **more,
    )


def packaged_home(home: Path, weights: int = 200_000, recipe: dict | None = None, engine: PaperEngine | None = None) -> Packaged:
    """Build and packaging of `weights` incompressible bytes. Another call on the same home makes another build."""
    bench = paper_bench(home, engine)
    build = finished_build(bench, recipe or RECIPE, weights)
    return package(bench, build)


def finished_build(bench: Workbench, recipe: dict = RECIPE, weights: int = 200_000) -> Run:
    """A build that recorded what it was made from; `steps/export-cpu/out` holds what goes into content."""
    steps = [{"name": "export-cpu", "kind": "export", "options": {"device": "cpu"}, "inputs": {}}]
    build = new_run(bench.settings.runs, "build", recipe["name"], lambda _: {"engine": "local", "recipe": recipe, "steps": steps})
    out, data = build.folder / "steps" / "export-cpu" / "out", build.folder / "data"
    (out / "model").mkdir(parents=True)
    (out / "adapters").mkdir()
    data.mkdir()
    (data / "travel.train.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (data / "travel.held_out.jsonl").write_text('{"prompt": "c", "response": "d"}\n')
    (out / "model" / "genai_config.json").write_text(json.dumps({"model": {"context_length": 128}}))
    (out / "model" / "model.onnx").write_bytes(b"a graph")
    (out / "model" / "model.onnx.data").write_bytes(os.urandom(weights))
    (out / "adapters" / "travel.onnx_adapter").write_bytes(os.urandom(max(weights // 20, 100)))
    inputs = {f"data/{path.name}": sha256_of(path) for path in sorted(data.iterdir())} | {"model": "0" * 64}
    made = {"step": "export-cpu", "kind": "graph", "path": "steps/export-cpu/out", "bytes": weights, "sha256": folder_digest(out)}
    manifest = {"format": 1, "run": build.id, "artifacts": [made], "metrics": {"evaluate-cpu-travel": METRICS}}
    write_json(build.folder / "manifest.json", {**manifest, "tools": TOOLS, "inputs": inputs})
    build.append(ev.RunRequested(run=build.id, kind="build", steps=("export-cpu",)))
    build.append(ev.StepStarted(step="export-cpu"))
    build.append(ev.ArtifactWritten(**made))
    build.append(ev.StepFinished(step="export-cpu", seconds=1))
    build.append(ev.RunFinished(seconds=1))
    return build


def package(bench: Workbench, build: Run) -> Packaged:
    """Package what the build made as packaging does, but for its checks and its smoke test."""
    recipe = build.request["recipe"]
    options = {
        "build": build.id,
        "build_folder": str(build.folder),
        "device": "cpu",
        "engine": "docker",
        "tag": f"edge-toolkit/{recipe['name']}-cpu:{build.id[:4]}",
    }
    steps = [{"name": "image", "kind": "image", "options": options, "inputs": {}}]
    run = new_run(bench.settings.runs, "package", recipe["name"], lambda _: {"engine": "docker", "recipe": recipe, "steps": steps})
    content, out = run.folder / "content", build.folder / "steps" / "export-cpu" / "out"
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        target = content / path.relative_to(out)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)
    write_config(content, {"format": 1, "device": "cpu", "adapters": ["travel"], "max_length": 128, "needed_mb": 64})
    run.append(ev.RunRequested(run=run.id, kind="package", steps=("image",)))
    run.append(ev.ArtifactWritten(step="collect", kind="model", path="content", bytes=folder_bytes(content), sha256=folder_digest(content)))
    assert HostSteps(bench, run, {}).all_done(), run.state().problem
    run.append(ev.RunFinished(seconds=1))
    return Packaged(bench, bench.image_engine(), build, run)
