"""Packaged images on a stage: in the engine, with the runs that made them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

from tests.tui.stage import NOW, RECIPE, Stage
from toolkit.core import events as ev
from toolkit.core.engine import LABEL, Image, ImageLayer
from toolkit.core.image_name import HOME
from toolkit.core.run import Run, new_run

SIZES = {"runtime 1": 30_410_428, "runtime 2": 97_455_925, "model": 106_939_968, "adapter": 23_251_960, "configuration": 99}


def add_image(
    stage: Stage,
    number: int = 1,
    adapters: dict[str, str] | None = None,
    device: str = "cpu",
    age: float = 3600,
    recipe: str = "travel",
    home: str = "",
) -> Image:
    """A packaged image as the engine holds it; `adapters`: name to content; `home`: mark of another home that made it."""
    adapters = {"persona": "p1", "travel": "t1"} if adapters is None else adapters
    contents = [("runtime 1", "runtime", "r1"), ("runtime 2", "runtime", "r2"), ("model", "edge package: model", f"m-{device}")]
    contents += [("adapter", f"edge package: adapter {name}", content) for name, content in adapters.items()]
    contents += [("configuration", "edge package: configuration", ",".join(adapters))]
    layers = [ImageLayer(_sha(content), SIZES[kind], made_by) for kind, made_by, content in contents]
    stage.images.of_layers |= {layer.diff_id: layer for layer in layers}
    build, tag = f"{number:04d}-build-{recipe}", f"edge-toolkit/{recipe}-{device}:{number:04d}"
    marks = {
        "kind": "image",
        "device": device,
        "recipe": recipe,
        "adapters": ",".join(adapters),
        "run": build,
        "recipe.sha256": _sha("r")[7:],
    }
    labels = {f"{LABEL}.{key}": value for key, value in marks.items()} | ({HOME: home} if home else {})
    identity = _sha("".join(layer.diff_id for layer in layers))
    image = Image(identity, (tag,), sum(layer.bytes for layer in layers), "", labels, tuple(layer.diff_id for layer in layers))
    stage.images.known[tag] = image
    if not home:
        add_packaging(stage, image, tag, age)
    return image


def add_packaging(stage: Stage, image: Image, tag: str, age: float) -> Run:
    """The finished run that made it."""
    build, device = image.labels[f"{LABEL}.run"], image.labels[f"{LABEL}.device"]
    options = {"build": build, "device": device, "engine": "docker", "tag": tag}
    steps = [{"name": kind, "kind": kind, "options": options, "inputs": {}} for kind in ("collect", "image", "smoke")]
    asked = {"engine": "docker", "recipe": {**RECIPE, "name": image.labels[f"{LABEL}.recipe"]}, "steps": steps}
    run = new_run(stage.settings.runs, "package", asked["recipe"]["name"], lambda _: asked)
    run.append(ev.RunRequested(at=NOW - age, run=run.id, kind="package", steps=("collect", "image", "smoke")))
    made = ev.ArtifactWritten(
        at=NOW - age, step="image", kind="image", path=tag, bytes=image.bytes, sha256=image.id.removeprefix("sha256:")
    )
    run.append(made)
    run.append(ev.RunFinished(at=NOW - age, seconds=30))
    answers = {"base": "The capital of France is Paris.", "base:travel": "Paris."}
    (run.folder / "smoke.json").write_text(json.dumps({"question": "What is the capital of France?", "answers": answers}))
    return run


def with_content(stage: Stage, image: Image, digest: str = "c" * 64) -> Run:
    """The files that an image was made of, still in the folder of the run that packaged it."""
    run = next(run for run in reversed(stage.bench.runs()) if run.kind == "package" and image.tags[0] in str(run.request["steps"]))
    for name in ("model/model.onnx", "adapters/travel.onnx_adapter", "device.json"):
        file = run.folder / "content" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    run.append(ev.ArtifactWritten(at=NOW, step="collect", kind="model", path="content", bytes=1, sha256=digest))
    return run


def retag(stage: Stage, image: Image, *names: str) -> None:
    """Give an image more names, as a push does."""
    named = replace(image, tags=(*image.tags, *names))
    stage.images.known |= dict.fromkeys(named.tags, named)


def add_build(stage: Stage, device: str = "cpu", recipe: str = "travel", age: float = 7200) -> Run:
    """A finished build that can be packaged."""
    run = stage.add_run("build", recipe, age=age)
    steps = [f"export-{device}", f"adapter-{device}-travel"]
    artifacts = [{"step": step, "kind": "model", "path": f"steps/{step}/out", "bytes": 1, "sha256": "0"} for step in steps]
    manifest, built_at = run.folder / "manifest.json", NOW - age + 600
    manifest.write_text(json.dumps({"artifacts": artifacts}))
    os.utime(manifest, (built_at, built_at))
    run.append(ev.RunFinished(at=built_at, seconds=600))
    return run


def _sha(content: str) -> str:
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
