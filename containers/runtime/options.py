"""How the server is told what to serve and where to listen: flags, with the environment as their defaults."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FORMAT = 3
"""Newest version of the device file that this server reads; 2 came with graphs, 3 with what an older server may pass over."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


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
    """cpu or cuda."""
    allow_cpu: bool
    """Serve on the CPU where cuda was asked for and does not work."""
    max_length: int
    """Prompt and answer together, in tokens; 0: the model's own limit, within reason."""
    threads: int
    """Threads that compute; 0: one for each core."""
    together: int
    """Answers that may be in the making at once; 0: what suits the provider."""
    reuse: bool
    """Keep the key-value cache of an answer for the next turn of its chat."""
    memory_mb: int
    """What the device has for the server; 0: nobody said."""
    kv_bytes_per_token: int
    """Of the key-value cache; 0: unknown."""
    kv_tokens: int
    """That each graph's caches may hold within `memory_mb`; 0: unknown."""
    drain_seconds: int
    """How long a generation may go on after the server was told to stop."""
    max_waiting: int
    """Requests that may wait; more are told to come again."""
    request_seconds: int
    """The longest a request may take, its wait included; 0: as long as it takes."""
    receive_seconds: int
    """The longest that the head of a request may take to come in, or its body, or a client to read on."""
    connections: int
    """At the same time."""
    api_key: bytes = field(repr=False)
    """What a client must bring; empty: nothing."""
    allowed_hosts: tuple[str, ...]
    """Names that a client may know this server by; empty: any."""
    cors_origins: tuple[str, ...]
    """Sites whose pages may use this server from a browser."""
    access_log: bool
    log_prompts: bool


def read_options(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """What flags, environment and the image's device file say, in this order.

    Raises:
        OptionError: what is said cannot be followed.
    """
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
        device=_device(found.device, device_file),
        allow_cpu=bool(found.allow_cpu),
        max_length=found.max_length or int(device_file.get("max_length", 0)),
        threads=found.threads,
        together=found.together,
        reuse=bool(found.reuse),
        memory_mb=int(device_file.get("memory_mb", 0)),
        kv_bytes_per_token=int(device_file.get("kv_bytes_per_token", 0)),
        kv_tokens=int(device_file.get("kv_tokens", 0)),
        drain_seconds=found.drain_seconds,
        max_waiting=found.max_waiting,
        request_seconds=found.request_seconds,
        receive_seconds=found.receive_seconds,
        connections=found.connections,
        api_key=_api_key(environment.get("EDGE_API_KEY", ""), found.api_key_file),
        allowed_hosts=_hosts(found),
        cors_origins=_words(found.cors_origin),
        access_log=bool(found.access_log),
        log_prompts=bool(found.log_prompts),
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="serve.py",
        description="Serve a model exported for ONNX Runtime GenAI.",
        epilog="EDGE_API_KEY: a key that clients must send as 'Authorization: Bearer KEY'. There is no flag for it: anybody can read those.",
    )

    def text(name: str, default: str, help: str) -> None:
        parser.add_argument(name, default=environment.get(_variable(name), default), help=f"{help} [{_variable(name)}]")

    def whole(name: str, default: int, help: str, low: int = 0, high: int = 2**31 - 1) -> None:
        def within(said: str) -> int:
            if not low <= int(said) <= high:
                raise argparse.ArgumentTypeError(f"{said} is not from {low} to {high}")
            return int(said)

        within.__name__ = "int"  # argparse says it of what is no number at all
        # argparse converts a default that is a string, so a bad variable is refused like a bad flag
        said = environment.get(_variable(name), str(default))
        parser.add_argument(name, default=said, type=within, help=f"{help} [{_variable(name)}]")

    text("--model", "/model", "folder of the exported model")
    text("--adapters", "/adapters", "folder of the *.onnx_adapter files")
    text("--device-file", "/etc/edge/device.json", "what the image was made for; need not exist")
    text("--uds", "", "Unix socket to listen on, instead of host and port")
    text("--host", "127.0.0.1", "address to listen on")
    whole("--port", 8080, "port to listen on; 0: a free one", high=65535)
    text("--device", "", "cpu or cuda; else what the image was made for")
    whole("--allow-cpu", 0, "1: serve on the CPU where the GPU does not work", high=1)
    whole("--max-length", 0, "prompt and answer together, in tokens")
    whole("--threads", 0, "threads that compute; 0: one for each core", high=1024)
    whole("--together", 0, "answers in the making at once; 0: 8 on a CPU, 4 on a GPU", high=32)
    whole("--reuse", 1, "0: take in the whole chat at every turn", high=1)
    whole("--drain-seconds", 5, "how long a generation may go on after SIGTERM")
    whole("--max-waiting", 16, "requests that may wait; more are answered with 429")
    whole("--request-seconds", 600, "the longest a request may take, its wait included; 0: as long as it takes")
    whole("--receive-seconds", 30, "the longest that a request may take to come in", low=1)
    whole("--connections", 128, "connections at the same time", low=1)
    text("--api-key-file", "", "file that holds the key which clients must bring")
    text("--allowed-hosts", "", "names that clients may know this server by; on loopback its own alone, else any")
    text("--cors-origin", "", "site whose pages may use this server from a browser; several with commas")
    whole("--access-log", 1, "0: no line for each request", high=1)
    whole("--log-prompts", 0, "1: prompts and answers are logged too", high=1)
    return parser


def _variable(flag: str) -> str:
    return "EDGE_" + flag.removeprefix("--").replace("-", "_").upper()


def _device_file(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise OptionError(f"{path} cannot be read: {exc}. Package the image again.") from exc
    if not isinstance(found, dict):
        raise OptionError(f"{path} holds no JSON object. Package the image again.")
    if found.get("format", 0) > FORMAT:
        raise OptionError(f"{path} has format {found['format']}, newer than this server's {FORMAT}. Use a newer server.")
    return found


def _device(said: str, device_file: dict) -> str:
    """Files of before `accelerator` name a device, and those with a GPU say so in it."""
    made_for = said or device_file.get("accelerator") or device_file.get("device", "cpu")
    return "cuda" if "cuda" in made_for else "cpu"


def _named_adapters(device_file: dict, folder: Path) -> dict[str, Path] | None:
    if "adapters" not in device_file:
        return None
    return {name: folder / f"{name}.onnx_adapter" for name in device_file["adapters"]}


def _api_key(said: str, file: str) -> bytes:
    if not file:
        return said.strip().encode()
    try:
        key = Path(file).read_bytes().strip()
    except OSError as exc:
        raise OptionError(f"The key in {file} cannot be read: {exc.strerror}. Let user {os.getuid()} read it.") from exc
    if not key:
        raise OptionError(f"{file} holds no key. Write one into it, or leave EDGE_API_KEY_FILE out.")
    return key


def _hosts(found: argparse.Namespace) -> tuple[str, ...]:
    if found.allowed_hosts == "*" or found.uds:
        return ()
    if found.allowed_hosts:
        return tuple(name.lower() for name in _words(found.allowed_hosts))
    return LOOPBACK if found.host in ("127.0.0.1", "::1", "localhost") else ()


def _words(said: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in said.split(",") if word.strip())
