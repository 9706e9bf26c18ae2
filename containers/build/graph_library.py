"""The library of our own graph operators: whether there is one for a device, and how it comes to lie beside a graph."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path

DOMAIN = "edge.toolkit"
LIBRARY = "libedge_graph_ops.so"
FOLDER = Path(sys.prefix, "graph_ops")
"""Where whoever made this environment has put the library, if there was a compiler."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def library_for(device_platform: str, folder: Path = FOLDER) -> Path | None:
    """The library, where there is one for a device's platform such as `linux/amd64`."""
    library = folder / LIBRARY
    is_ours = device_platform == f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"
    return library if is_ours and library.is_file() else None


def uses_operators(graph: Path) -> bool:
    import onnx

    return any(opset.domain == DOMAIN for opset in onnx.load(graph, load_external_data=False).opset_import)


def lay_beside(library: Path, out: Path) -> None:
    """Put the library beside the graph, where ONNX Runtime GenAI looks for it."""
    shutil.copyfile(library, out / LIBRARY)
    path = out / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["decoder"].setdefault("session_options", {})["custom_ops_library"] = LIBRARY
    path.write_text(json.dumps(config, indent=4), encoding="utf-8")
