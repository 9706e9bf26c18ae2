"""The files of an exported graph: which base it says it came from, and, for a device with merged adapters, which weights it shares.

Every merged graph has the same embedding, head, norms and untouched projections. Those go into `shared.onnx.data`, byte for byte
the same beside each graph, so that one copy serves all; what an adapter can change stays in a file of the graph's own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import onnx_ir as ir
from base_mark import METADATA_KEY, mark_of
from lora_layout import Layout

SHARED_FILE = "shared.onnx.data"
_PROJECTION = re.compile(r"/model/layers\.\d+/(attn|mlp)/(\w+)/")
_LARGE = 1024
"""Bytes from which on a tensor is not kept in the graph's own file."""


def graph_file(adapter: str) -> str:
    """Name of the graph with an adapter folded in; of the base where `adapter` is empty."""
    return f"merged-{adapter}.onnx" if adapter else "model.onnx"


def note_base(graph: Path, base: Path) -> None:
    """Write into the graph which model it was exported from."""
    model = onnx.load(graph, load_external_data=False)
    onnx.helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | {METADATA_KEY: mark_of(base)})
    onnx.save(model, graph)


def split_weights(folder: Path, adapter: str, changeable: Layout) -> int:
    """Give the graph in `folder` its name, its weights parted into those of its own and those that all graphs share.

    Returns the bytes that are its own.
    """
    model = ir.load(folder / "model.onnx")
    stored = [value for value in model.graph.initializers.values() if isinstance(value.const_value, ir.ExternalTensor)]
    large = [value for value in stored if value.const_value.nbytes > _LARGE]
    for value in (value for value in stored if value.const_value.nbytes <= _LARGE):
        value.const_value = ir.tensor(value.const_value.numpy().copy(), name=value.name)
    own = {value.name for value in large if _is_changeable(value, changeable)}
    name = graph_file(adapter)
    parts = {f"{name}.data.new": [v for v in large if v.name in own], SHARED_FILE: [v for v in large if v.name not in own]}
    for file, values in parts.items():
        tensors = ir.external_data.convert_tensors_to_external([value.const_value for value in values], folder, file)
        for value, tensor in zip(values, tensors, strict=True):
            value.const_value = tensor
    _finish(model, folder, name)
    return sum(path.stat().st_size for path in folder.glob(f"{name}*"))


def _is_changeable(value: ir.Value, changeable: Layout) -> bool:
    matches = [_PROJECTION.match(use.node.name or "") for use in value.uses()]
    return any(match is not None and f"{match[1]}.{match[2]}" in changeable for match in matches)


def _finish(model: ir.Model, folder: Path, name: str) -> None:
    """Take the old weights away, and give the new ones and the graph their names."""
    proto = ir.to_proto(model)
    for file in ("model.onnx", "model.onnx.data"):
        (folder / file).unlink()
    (folder / f"{name}.data.new").replace(folder / f"{name}.data")
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = entry.value.removesuffix(".new")
    onnx.save(proto, folder / name)
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
    config["model"]["decoder"]["filename"] = name
    (folder / "genai_config.json").write_text(json.dumps(config, indent=4), encoding="utf-8")
