"""What goes into an image: model/, adapters/, device.json, put together from what a build made for one device."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.core import adapter_check, footprint
from toolkit.core.device import Device
from toolkit.core.files import write_json
from toolkit.core.footprint import SHARED
from toolkit.core.kv_budget import MemoryFit, memory_fit, memory_limit
from toolkit.core.made import Made
from toolkit.errors import RunError

NOT_SHIPPED = ("metrics.json",)
GENAI_CONFIG = "genai_config.json"
BASE_GRAPH = ("model.onnx", "model.onnx.data")

Progress = Callable[[int, int, str], None]


def put_together(build: Path, made: Made, content: Path, keep_base: bool, progress: Progress) -> None:
    """model/ and adapters/, linked from the build's folder after each was held against what the build wrote.

    Raises:
        RunError: something is not what the build wrote, or an adapter does not fit the graph; names file or tensor.
    """
    shutil.rmtree(content, ignore_errors=True)
    for number, artifact in enumerate(made.artifacts):
        if folder_digest(build / artifact["path"]) != artifact["sha256"]:
            raise _changed(artifact["path"], build.name)
        progress(number + 1, len(made.artifacts), "artifacts")
    left_out = () if keep_base or not made.is_merged else BASE_GRAPH
    _link_tree(build / made.graph["path"], content / "model", skip=(*NOT_SHIPPED, *left_out))
    for name, artifact in made.adapters.items():
        if made.is_merged:
            _add_merged(build / artifact["path"], content / "model", name)
        else:
            adapter = build / artifact["path"] / f"{name}.onnx_adapter"
            adapter_check.check(adapter, build / made.graph["path"] / "model.onnx")
            _link(adapter, content / "adapters" / adapter.name)


def _changed(path: str, build: str) -> RunError:
    return RunError(f"{path} of {build} is not what the build wrote.", "Run the recipe again; `edge clean --cache` first if it stays so.")


def _add_merged(source: Path, model: Path, name: str) -> None:
    """The graph of a merged adapter, whose shared weights must be those that are here already."""
    if _sha256(source / SHARED) != _sha256(model / SHARED):
        raise RunError(
            f"The graph of adapter '{name}' does not share its weights with the base: {SHARED} differs.",
            "Run the recipe again; `edge clean --cache` first if it stays so.",
        )
    for path in sorted(source.glob("merged-*.onnx*")):
        _link(path, model / path.name)


def device_config(content: Path, made: Made, device: Device, context_length: int = 0, memory_mb: int = 0) -> tuple[dict, MemoryFit | None]:
    """What the image's server is told, and what fits of what was wanted; None where the model does not say what it takes.

    `context_length` and `memory_mb`, the limit that it will run under, are the device's where they are 0.

    Raises:
        RunError: the device has no memory for a conversation of any use; names what would do.
    """
    model = content / "model"
    limit = json.loads((model / GENAI_CONFIG).read_text("utf-8"))["model"]["context_length"]
    length = min(limit, context_length or device.max_length)
    config = {"format": 1, "device": made.device, "accelerator": device.accelerator, "max_length": length, "adapters": list(made.adapters)}
    if made.is_merged:
        graphs = _graphs(model, made)
        config = {**config, "format": 2, "graphs": graphs, "graphs_in_memory": len(graphs)}
        config["graphs_in_memory"] = footprint.graphs_that_fit(content, config, memory_limit(device, memory_mb)[0])
    return _within_memory(content, {**config, "memory_mb": memory_mb or device.memory_mb}, device)


def _within_memory(content: Path, config: dict, device: Device) -> tuple[dict, MemoryFit | None]:
    """The same with the longest conversation that the device has memory for."""
    taken = footprint.footprint_of(content, config)
    if taken is None:
        return {**config, "needed_mb": 0}, None
    fit = memory_fit(device, taken, config["max_length"], config["memory_mb"])
    if not fit.fits:
        raise RunError(fit.sentence, f"Raise it in {device.name}.toml, lower max_length there, or take a smaller model.")
    told = {"max_length": fit.taken, "kv_bytes_per_token": taken.kv_bytes_per_token, "needed_mb": taken.needed_mb(fit.taken)}
    if fit.limit_mb:
        told["kv_tokens"] = taken.longest(fit.limit_mb)  # of one conversation, or of several that are held at once
    return {**config, **told}, fit


def shorten(content: Path, max_length: int) -> None:
    """Let the model's own configuration name no longer conversations, for whoever runs the folder without our server.

    The file is written anew: the one that lies there is the build's.
    """
    path = content / "model" / GENAI_CONFIG
    config = json.loads(path.read_text("utf-8"))
    config["model"]["context_length"] = min(max_length, config["model"]["context_length"])
    search = config.setdefault("search", {})
    search["max_length"] = min(max_length, search.get("max_length", max_length))
    write_json(path, config)


def _graphs(model: Path, made: Made) -> Mapping[str, str]:
    """File of each graph, by adapter; empty for the base, where the image has it."""
    base = {"": BASE_GRAPH[0]} if (model / BASE_GRAPH[0]).exists() else {}
    return base | {name: f"merged-{name}.onnx" for name in made.adapters}


def write_config(content: Path, config: dict) -> None:
    write_json(content / "device.json", config)


def read_config(content: Path) -> dict:
    """What is told to the server of a folder that was put together; empty where it says nothing."""
    try:
        return json.loads((content / "device.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def has_base(config: Mapping[str, Any]) -> bool:
    """The server of this device.json answers without an adapter too."""
    return "" in config.get("graphs", {"": ""})


def adapters_in(content: Path) -> list[str]:
    """The adapters in the order in which they are laid into an image: the recipe's."""
    beside = sorted(path.name.removesuffix(".onnx_adapter") for path in (content / "adapters").glob("*.onnx_adapter"))
    return list(read_config(content).get("adapters", beside))


def folder_digest(folder: Path) -> str:
    """sha256 over the sorted files of a folder (hidden ones left out): path, size and sha256, as the build program counts it."""
    digest = hashlib.sha256()
    paths = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0{_sha256(path)}\n".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def _link_tree(source: Path, target: Path, skip: tuple[str, ...] = ()) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.name not in skip:
            _link(path, target / path.relative_to(source))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
