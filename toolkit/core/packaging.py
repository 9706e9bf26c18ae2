"""From a finished build to an image a device runs: collect its artifacts, lay them out as an image, prove that it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core import chat, content
from toolkit.core.content import folder_digest
from toolkit.core.device import Device, find
from toolkit.core.engine import LABEL, ChatHost, Image, ImageEngine
from toolkit.core.files import folder_bytes, write_json
from toolkit.core.image_name import HOME, ImageName, image_name, mark_of
from toolkit.core.images import OwnImage
from toolkit.core.layers import Layer, LayerFile, folder_layer, image_archive
from toolkit.core.made import devices_in, made_for
from toolkit.core.run import Run
from toolkit.core.serving import Limits, serving
from toolkit.errors import ChatError, EngineError, RunError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

SMOKE_QUESTION = "What is the capital of France?"
MOST_PARTS = 24
"""An event tells of no more layers than this."""


def request(build: Run, device: Device, engine: str, memory_mb: int = 0, name: ImageName | None = None) -> dict:
    """What a packaging run is asked: which build, for which device, on which engine, and how the image is called.

    Raises:
        RunError: the run is no build, is not finished, or made nothing for this device.
    """
    if build.kind != "build":
        raise RunError(f"Run {build.id} is a {build.kind}, not a build.", "`edge runs` lists the builds.")
    made = devices_in(build.manifest()["artifacts"])
    if device.name not in made:
        known = ", ".join(sorted(made))
        raise RunError(
            f"Run {build.id} made nothing for the device '{device.name}'.",
            f"It made: {known or 'no export'}; add the device to the recipe.",
        )
    recipe = build.request["recipe"]
    name = name or image_name(recipe["name"], device.name, build.id, "", {})
    options = {
        "build": build.id,
        "build_folder": str(build.folder),
        "device": device.name,
        "engine": engine,
        "memory_mb": memory_mb or device.memory_mb,
        "cpus": device.cpus,
        "tag": name.tag,
        "note": name.note,
        "question": SMOKE_QUESTION,
    }
    kinds = ["collect", "image", "smoke"] if engine == "docker" else ["collect", "smoke"]
    return {"engine": engine, "recipe": recipe, "steps": [{"name": kind, "kind": kind, "options": options, "inputs": {}} for kind in kinds]}


def collect(job: Job) -> dict[str, float]:
    """Put model, adapters and configuration of one device together, after checking that they are what the build wrote."""
    build, recipe = Path(job.options["build_folder"]), job.run.request["recipe"]
    made = made_for(Run(build).manifest()["artifacts"], job.options["device"])
    assert made, "asked for before the run was made"
    folder = content_folder(job.run)
    content.put_together(build, made, folder, recipe["export"].get("keep_base", True), job.progress)
    length = recipe["export"]["context_length"] or find(job.bench.settings.devices, made.device).max_length
    config = content.device_config(folder, made, length, job.options["memory_mb"])
    content.write_config(folder, config)
    job.left("model", "content", folder_bytes(folder), folder_digest(folder))
    in_memory = {"graphs_in_memory": config["graphs_in_memory"]} if made.is_merged else {}
    return {"bytes": folder_bytes(folder), "adapters": len(made.adapters), "memory_mb": config["memory_mb"], **in_memory}


def content_folder(run: Run) -> Path:
    """What goes into the image: model/, adapters/, device.json."""
    return run.folder / "content"


def image(job: Job) -> dict[str, float]:
    """The runtime image with the model's layers on top, taken into the engine."""
    engine, settings = job.bench.image_engine(), job.bench.settings
    device = find(settings.devices, job.options["device"])
    if note := job.options.get("note"):
        job.log(note)
    _check_free(engine, job.options["tag"], mark_of(settings.runs))
    runtime = OwnImage("runtime", device.accelerator)
    for line in runtime.ensure(settings, engine):
        job.log(line)
        job.progress(0, message=line[:120])
    base = engine.find(runtime.tag(settings))
    if base is None:
        raise EngineError(f"{runtime.tag(settings)} is not in the engine after its build.", "Look at log.txt in the run folder.")
    if base.bytes > device.size_budget_mb * 1e6:
        job.log(f"The runtime takes {base.bytes / 1e6:.0f} MB, over the device's budget of {device.size_budget_mb} MB.")
    layers = image_layers(content_folder(job.run))
    packed = load_image(engine, base, layers, _labels(job, base), job.options["tag"], job.progress)
    job.left("image", job.options["tag"], packed.bytes, packed.id.removeprefix("sha256:"))
    own = sum(layer.size for layer in layers)
    return {"bytes": packed.bytes, "runtime_bytes": base.bytes, "model_layers_bytes": own, "layers": len(packed.layers)}


def _check_free(engine: ImageEngine, tag: str, mark: str) -> None:
    """Another home may have taken the name since this run was asked for."""
    there = engine.find(tag)
    if there and there.labels.get(HOME, "") not in ("", mark):
        raise EngineError(f"Another home has meanwhile made an image {tag}.", "Package the build again: it then gets another name.")


def image_layers(folder: Path) -> list[Layer]:
    """The model, each adapter, and the configuration: what changes rarely comes first.

    Adapters lie in the recipe's order. An engine fetches again whatever lies above the first layer that changed, so the adapter
    that changes most belongs last in the recipe.
    """
    merged = {name: f"merged-{name}.onnx" for name in content.read_config(folder).get("graphs", {}) if name}
    model = folder_layer("model", folder / "model", "/model")
    own = {f"/model/{file}{more}" for file in merged.values() for more in ("", ".data")}
    return [
        Layer(model.name, tuple(file for file in model.files if file.path not in own)),
        *(_adapter_layer(folder, name, merged.get(name, "")) for name in content.adapters_in(folder)),
        Layer("configuration", (LayerFile(folder / "device.json", "/etc/edge/device.json"),)),
    ]


def _adapter_layer(folder: Path, name: str, graph: str) -> Layer:
    """An adapter's file, or its graph with the weights of its own."""
    places = [f"model/{path.name}" for path in sorted((folder / "model").glob(f"{graph}*"))] if graph else [f"adapters/{name}.onnx_adapter"]
    return Layer(f"adapter {name}", tuple(LayerFile(folder / place, f"/{place}") for place in places))


def load_image(engine: ImageEngine, base: Image, layers: list[Layer], labels: dict[str, str], tag: str, progress) -> Image:
    """Stream base + layers into the engine. An engine that wants the base's layers too gets them in a second try."""
    sizes = {layer.name: (layer.size, sum(file.size for file in layer.files)) for layer in layers}
    try:
        engine.load(_counted(image_archive(base, layers, labels, tag), sizes, progress))
    except EngineError:
        whole = {"runtime": (base.bytes, base.bytes), **sizes}
        engine.load(_counted(image_archive(base, layers, labels, tag, engine.save(base.id)), whole, progress))
    packed = engine.find(tag)
    if packed is None or len(packed.layers) != len(base.layers) + len(layers):
        raise EngineError(f"The engine took {tag} but does not hold it whole.", "`edge doctor` looks at the engine.")
    return packed


def _counted(archive, sizes: Mapping[str, tuple[int, int]], progress):
    """The archive as it goes by, told; `sizes`: bytes of each layer's tar, and of the files in it."""
    total, done = sum(tar for tar, _ in sizes.values()), 0
    for chunk in archive:
        yield chunk
        done += len(chunk)
        progress(min(done, total), total, "bytes", "", _filled(sizes, done))


def _filled(sizes: Mapping[str, tuple[int, int]], done: int) -> dict[str, list[float]]:
    """`[done, total]` of each layer's files when so many bytes have gone in, one layer after another."""
    parts: dict[str, list[float]] = {}
    for name, (tar, files) in list(sizes.items())[:MOST_PARTS]:
        parts[name] = [files * max(0, min(done, tar)) // (tar or 1), files]
        done -= tar
    return parts


def _labels(job: Job, base: Image) -> dict[str, str]:
    recipe = job.run.request["recipe"]
    folder = content_folder(job.run)
    config = content.read_config(folder)
    merged = {f"{LABEL}.carries": "merged", f"{LABEL}.base": "yes" if "" in config["graphs"] else "no"} if "graphs" in config else {}
    return {
        f"{LABEL}.kind": "image",
        HOME: mark_of(job.bench.settings.runs),
        f"{LABEL}.recipe": recipe["name"],
        f"{LABEL}.recipe.sha256": hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest(),
        f"{LABEL}.run": job.options["build"],
        f"{LABEL}.device": job.options["device"],
        f"{LABEL}.model.sha256": folder_digest(folder / "model"),
        f"{LABEL}.adapters": ",".join(sorted(content.adapters_in(folder))),
        **merged,
        f"{LABEL}.runtime": base.id,
        f"{LABEL}.memory_mb": str(config["memory_mb"]),
        f"{LABEL}.max_length": str(config["max_length"]),
        "org.opencontainers.image.title": recipe["name"],
    }


def smoke(job: Job) -> dict[str, float]:
    """Ask the very image, hardened as on the device, with the base and with every adapter; each must answer."""
    host, target = chat_host(job)
    metrics: dict[str, float] = {}
    answers = {}
    with serving(host, target, Limits(job.options["memory_mb"], job.options["cpus"]), _needed_mb(job)) as served:
        models = served.conversation().models()
        for number, model in enumerate(models):
            adapter = model.partition(":")[2]
            pieces = list(served.conversation().ask(job.options["question"], adapter, chat.Sampling(max_tokens=48)))
            text = "".join(piece.text for piece in pieces if isinstance(piece, chat.Token)).strip()
            if not text:
                raise ChatError(
                    f"{model} gave an empty answer to {job.options['question']!r}.",
                    "Chat with it by `edge chat`; look at the evaluation in `edge show`.",
                )
            ended = pieces[-1]
            answers[model] = text
            label = adapter or "base"
            metrics |= {f"{label}.first_token_ms": ended.first_token_ms, f"{label}.tokens_per_second": ended.tokens_per_second}
            job.progress(number + 1, len(models), "models", f"{model}: {text[:60]}")
    write_json(job.run.folder / "smoke.json", {"question": job.options["question"], "answers": answers})
    return metrics


def _needed_mb(job: Job) -> int:
    return content.read_config(content_folder(job.run)).get("memory_mb", 0)


def chat_host(job: Job) -> tuple[ChatHost, str]:
    if job.options["engine"] == "docker":
        return job.bench.image_engine(), job.options["tag"]
    return job.bench.local_chat(), str(content_folder(job.run))
