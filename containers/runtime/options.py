"""How the server is told what to serve and where to listen: flags, with the environment as their defaults."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FORMAT = 2
"""Newest version of the device file that this server reads; 2 came with graphs."""


class OptionError(Exception):
    """The server is told something it cannot follow."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything the server is told."""

    model: Path
    adapters: dict[str, Path] | None
    """Adapter files by name; None: whatever lies in the adapters folder."""
    adapters_folder: Path
    graphs: dict[str, str]
    """Merged: file of each adapter's own graph in the model's folder, empty for the base. No entry: one graph takes all adapters."""
    graphs_in_memory: int
    """So many of them are held together."""
    uds: Path | None
    """A Unix socket to listen on; instead of host and port."""
    host: str
    port: int
    device: str
    max_length: int
    """Prompt and answer together, in tokens; 0: the model's own limit, within reason."""
    threads: int
    """Threads of one generation; 0: the library's choice."""
    drain_seconds: int
    """How long a generation may go on after the server was told to stop."""


def read_options(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """What flags, environment and the image's device file say, in this order."""
    found = _parser(environment).parse_args(argv)
    device_file = _device_file(Path(found.device_file))
    folder = Path(found.adapters)
    return Options(
        model=Path(found.model),
        adapters=_named_adapters(device_file, folder),
        adapters_folder=folder,
        graphs=dict(device_file.get("graphs", {})),
        graphs_in_memory=int(device_file.get("graphs_in_memory", 1)),
        uds=Path(found.uds) if found.uds else None,
        host=found.host,
        port=found.port,
        device=found.device or device_file.get("device", "cpu"),
        max_length=found.max_length or int(device_file.get("max_length", 0)),
        threads=found.threads,
        drain_seconds=found.drain_seconds,
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve.py", description="Serve a model exported for ONNX Runtime GenAI.")

    def flag(name: str, default: str | int, help: str) -> None:
        variable = "EDGE_" + name.removeprefix("--").replace("-", "_").upper()
        # argparse converts a default that is a string, so a bad variable is refused like a bad flag
        parser.add_argument(name, default=environment.get(variable, default), type=type(default), help=f"{help} [{variable}]")

    flag("--model", "/model", "folder of the exported model")
    flag("--adapters", "/adapters", "folder of the *.onnx_adapter files")
    flag("--device-file", "/etc/edge/device.json", "what the image was made for; need not exist")
    flag("--uds", "", "Unix socket to listen on, instead of host and port")
    flag("--host", "127.0.0.1", "address to listen on")
    flag("--port", 8080, "port to listen on; 0: a free one")
    flag("--device", "", "cpu or cuda")
    flag("--max-length", 0, "prompt and answer together, in tokens")
    flag("--threads", 0, "threads of one generation; 0: the library's choice")
    flag("--drain-seconds", 5, "how long a generation may go on after SIGTERM")
    return parser


def _device_file(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise OptionError(f"{path} cannot be read: {exc}. Package the image again.") from exc
    if found.get("format", 0) > FORMAT:
        raise OptionError(f"{path} has format {found['format']}, newer than this server's {FORMAT}. Use a newer server.")
    return found


def _named_adapters(device_file: dict, folder: Path) -> dict[str, Path] | None:
    if "adapters" not in device_file:
        return None
    return {name: folder / f"{name}.onnx_adapter" for name in device_file["adapters"]}
