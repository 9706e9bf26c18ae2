"""From a finished build to an image a device runs: collect its artifacts, lay them out as an image, prove that it answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core import chat, content, image_making
from toolkit.core.content import folder_digest
from toolkit.core.device import Device, find
from toolkit.core.engine import LABEL, ChatHost, ImageEngine
from toolkit.core.files import folder_bytes, write_json
from toolkit.core.image_making import LAYOUT_FOLDER, Told, Wanted
from toolkit.core.image_name import HOME, ImageName, image_name, mark_of
from toolkit.core.images import OwnImage
from toolkit.core.layers import Layer, LayerFile, base_names, folder_layer, layer_name
from toolkit.core.made import devices_in, made_for
from toolkit.core.provenance import RECIPE_TEXT, facts_of_build, named, recipe_text
from toolkit.core.run import Run
from toolkit.core.serving import Limits, serving
from toolkit.core.untried import FILE, UNTRIED, why_untried
from toolkit.errors import ChatError, EngineError, RunError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

SMOKE_QUESTION = "What is the capital of France?"


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
    device = find(job.bench.settings.devices, made.device)
    config, fit = content.device_config(folder, made, device, recipe["export"]["context_length"], job.options["memory_mb"])
    if fit and not (fit.is_whole and fit.limit_mb):
        job.log(fit.sentence)
    content.shorten(folder, config["max_length"])
    content.write_config(folder, config)
    job.left("model", "content", folder_bytes(folder), folder_digest(folder))
    in_memory = {"graphs_in_memory": config["graphs_in_memory"]} if made.is_merged else {}
    memory = {"memory_mb": config["needed_mb"], "max_length": config["max_length"], **in_memory}
    return {"bytes": folder_bytes(folder), "adapters": len(made.adapters), **memory}


def content_folder(run: Run) -> Path:
    """What goes into the image: model/, adapters/, device.json."""
    return run.folder / "content"


def image(job: Job) -> dict[str, float]:
    """The runtime image with the model's layers on top: an OCI layout in the run's folder, then taken into the engine."""
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
    facts = facts_of_build(Path(job.options["build_folder"]), job.run.request["recipe"], device.name)
    labels = {**named(facts, LABEL), **_labels(job, runtime.tag(settings))}
    annotations = named({**facts, RECIPE_TEXT: recipe_text(job.run.request["recipe"])}, LABEL)
    wanted = Wanted(base, layers, labels, job.options["tag"], annotations)
    own = [layer.size for layer in layers]
    told = Told(
        [*map(layer_name, base_names(base)), *(layer.name for layer in layers)],
        [base.bytes, *[0] * (len(base.layers) - 1), *own],
        job.progress,
    )
    layout = image_making.lay_out(job.run.folder / LAYOUT_FOLDER, engine, wanted, image_making.earlier_blobs(settings.runs), told)
    job.left("layout", LAYOUT_FOLDER, layout.bytes, layout.manifest.removeprefix("sha256:"))
    packed = image_making.load(engine, layout, base, told)
    job.left("image", job.options["tag"], packed.bytes, packed.id.removeprefix("sha256:"))
    sizes = {"bytes": packed.bytes, "runtime_bytes": base.bytes, "model_layers_bytes": sum(own), "layers": len(packed.layers)}
    return {**sizes, "written_bytes": told.written, "loaded_bytes": told.loaded}


def _check_free(engine: ImageEngine, tag: str, mark: str) -> None:
    """Another home may have taken the name since this run was asked for."""
    there = engine.find(tag)
    if there and there.labels.get(HOME, "") not in ("", mark):
        raise EngineError(f"Another home has meanwhile made an image {tag}.", "Package the build again: it then gets another name.")


def image_layers(folder: Path) -> list[Layer]:
    """The model, each adapter, and the configuration, the model's own too: what changes rarely comes first.

    Adapters lie in the recipe's order. An engine fetches again whatever lies above the first layer that changed, so the adapter
    that changes most belongs last in the recipe.
    """
    merged = {name: f"merged-{name}.onnx" for name in content.read_config(folder).get("graphs", {}) if name}
    model = folder_layer("model", folder / "model", "/model")
    told = [LayerFile(folder / "device.json", "/etc/edge/device.json")]
    told += [file for file in model.files if file.path == f"/model/{content.GENAI_CONFIG}"]
    own = {f"/model/{file}{more}" for file in merged.values() for more in ("", ".data")} | {file.path for file in told}
    return [
        Layer(model.name, tuple(file for file in model.files if file.path not in own)),
        *(_adapter_layer(folder, name, merged.get(name, "")) for name in content.adapters_in(folder)),
        Layer("configuration", tuple(told)),
    ]


def _adapter_layer(folder: Path, name: str, graph: str) -> Layer:
    """An adapter's file, or its graph with the weights of its own."""
    places = [f"model/{path.name}" for path in sorted((folder / "model").glob(f"{graph}*"))] if graph else [f"adapters/{name}.onnx_adapter"]
    return Layer(f"adapter {name}", tuple(LayerFile(folder / place, f"/{place}") for place in places))


def _labels(job: Job, runtime: str) -> dict[str, str]:
    recipe = job.run.request["recipe"]
    folder = content_folder(job.run)
    config = content.read_config(folder)
    merged = {f"{LABEL}.carries": "merged", f"{LABEL}.base": "yes" if "" in config["graphs"] else "no"} if "graphs" in config else {}
    untried = _why_untried(job)
    return {
        f"{LABEL}.kind": "image",
        HOME: mark_of(job.bench.settings.runs),
        f"{LABEL}.recipe": recipe["name"],
        f"{LABEL}.run": job.options["build"],
        f"{LABEL}.device": job.options["device"],
        f"{LABEL}.model.sha256": folder_digest(folder / "model"),
        f"{LABEL}.adapters": ",".join(sorted(content.adapters_in(folder))),
        **merged,
        **({UNTRIED: untried} if untried else {}),
        f"{LABEL}.runtime": runtime,
        f"{LABEL}.memory_mb": str(config["needed_mb"]),
        f"{LABEL}.max_length": str(config["max_length"]),
        "org.opencontainers.image.title": recipe["name"],
    }


def smoke(job: Job) -> dict[str, float]:
    """Ask the very image, hardened as on the device, with the base and with every adapter; each must answer.

    One for a GPU, where there is none, is not asked: whoever packages on such a machine is told, and so is the image's label.
    """
    if untried := _why_untried(job):
        write_json(job.run.folder / FILE, {"question": job.options["question"], "answers": {}, "untried": untried})
        job.log(untried)
        job.progress(1, 1, "", untried)
        return {}
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
    write_json(job.run.folder / FILE, {"question": job.options["question"], "answers": answers})
    return metrics


def _why_untried(job: Job) -> str:
    return why_untried(job.bench, find(job.bench.settings.devices, job.options["device"]), job.options["engine"])


def _needed_mb(job: Job) -> int:
    return content.read_config(content_folder(job.run)).get("needed_mb", 0)


def chat_host(job: Job) -> tuple[ChatHost, str]:
    if job.options["engine"] == "docker":
        return job.bench.image_engine(), job.options["tag"]
    return job.bench.local_chat(), str(content_folder(job.run))
