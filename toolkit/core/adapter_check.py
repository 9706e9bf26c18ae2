"""Does an adapter file fit the graph it is packaged with? Names, shapes, types, values, and the base it was trained on."""

from __future__ import annotations

from pathlib import Path

from toolkit.core import adapter_file, lora_pack, onnx_inputs
from toolkit.core.adapter_file import AdapterFile, BadAdapter
from toolkit.core.lora_pack import PACK_INPUT, PLACES_NOTE
from toolkit.core.onnx_inputs import BadGraph, GraphFile
from toolkit.errors import RunError

BASE_NOTE = "edge.base"
"""Under which a graph notes the mark of its base."""
UNMARKED = 1
"""Version of the model in adapter files that do not say which base they were trained on."""
ADAPTER_INPUT = ".lora_"
TRAIN_AGAIN = "Run the recipe again, so that adapter and graph come from one base."


def check(adapter: Path, graph: Path) -> None:
    """
    Raises:
        RunError: the adapter does not fit; names the tensor and tells both shapes.
    """
    try:
        found, takes = adapter_file.read(adapter), onnx_inputs.read(graph)
    except (BadAdapter, BadGraph) as exc:
        raise RunError(f"{exc}.", TRAIN_AGAIN) from exc
    except OSError as exc:
        raise RunError(f"{exc.filename} cannot be read: {exc.strerror}.", TRAIN_AGAIN) from exc
    problem = _another_base(found, takes) or _misfit(found, takes)
    if problem:
        raise RunError(f"{adapter.name} does not fit the graph: {problem}.", TRAIN_AGAIN)


def _another_base(found: AdapterFile, takes: GraphFile) -> str:
    base = takes.notes.get(BASE_NOTE, "")
    if base and found.model_version not in (UNMARKED, version_of(base)):
        return f"it was trained on another base model than {base[:12]}"
    return ""


def version_of(base: str) -> int:
    """A base's mark as the whole number that adapter files have room for."""
    return int(base[:7], 16) + 2


def _misfit(found: AdapterFile, takes: GraphFile) -> str:
    if not found.tensors:
        return "it holds no tensors"
    for name, kind in sorted(found.tensors.items()):
        wanted = takes.inputs.get(name) if ADAPTER_INPUT in name or name == PACK_INPUT else None
        if wanted is None:
            return f"the graph has no input {name}"
        if not wanted.takes(kind):
            return f"{name} is {kind}, the graph takes {wanted}"
        if 0 in kind.shape:
            return f"{name} is of rank 0"
    if PACK_INPUT in found.tensors:
        return _misfit_inside(found, takes)
    return f"{found.unsound[0]} holds values that are no numbers" if found.unsound else ""


def _misfit_inside(found: AdapterFile, takes: GraphFile) -> str:
    """What does not fit in an adapter that is one tensor, by the names of the graph's projections."""
    places = lora_pack.places(takes.notes.get(PLACES_NOTE, "[]"))
    if len(places) != len(found.branches):
        return f"it is made for {len(found.branches)} projections, the graph has {len(places)} that take adapters"
    for (name, inputs, outputs), branch in zip(places, found.branches, strict=True):
        if (branch.inputs, branch.outputs) != (inputs, outputs):
            return f"{name} has {branch.inputs} inputs and {branch.outputs} outputs in it, the graph's has {inputs} and {outputs}"
        if not branch.is_sound:
            return f"{name} holds values that are no numbers"
    return "" if any(branch.rank for branch in found.branches) else "it changes no projection"
