"""Serve a model: `python serve.py --model FOLDER --adapters FOLDER --uds PATH`, or `--host` and `--port`.

Ends with 0 on SIGTERM, 1 where the model cannot be served, 2 where it is told something wrong, 3 where it was made for a GPU and
finds none that works.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import gpu_gate
import uvicorn
from api import make_app
from connection import Patience, PatientProtocol
from model import Model, ModelError
from options import OptionError, Options, read_options
from starlette.applications import Starlette

LONGEST_SOCKET_PATH = 107
"""Bytes the system allows for the path of a Unix socket."""
IDLE_SECONDS = 20
"""A connection without a request is kept so long: longer than clients keep theirs, so that it is they who hang up."""


class Server(uvicorn.Server):
    """A server that ends itself, in good order, on SIGTERM: as PID 1 of a container nobody else would."""

    def __init__(self, config: uvicorn.Config, app: Starlette):
        super().__init__(config)
        self.app = app
        self.exit_code = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The inherited one raises the signal again at the end, which turns a clean stop into a death by signal.
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.app.state.turns.leave()
        await super().shutdown(sockets)


def main(argv: Sequence[str]) -> int:
    try:
        options = read_options(argv)
        listener = _listen(options)
    except OptionError as exc:
        print(f"serve: {exc}", file=sys.stderr)
        return 2
    try:
        return _serve(options, listener)
    finally:
        if options.uds:
            options.uds.unlink(missing_ok=True)


def _serve(options: Options, listener: socket.socket) -> int:
    def load_failed(exc: ModelError) -> None:
        print(f"serve: {exc}", file=sys.stderr, flush=True)
        server.exit_code = gpu_gate.EXIT_CODE if isinstance(exc, gpu_gate.GpuError) else 1
        server.should_exit = True

    app = make_app(options, lambda: _load(options), load_failed)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        http=partial(PatientProtocol, patience=Patience(options.receive_seconds, options.connections)),
        timeout_keep_alive=IDLE_SECONDS,
        ws="none",
        loop="asyncio",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=options.drain_seconds,
    )
    server = Server(config, app)
    _end_with_the_starter()
    print(f"listening on {_address(listener)}{_for_whom(options)}", file=sys.stderr, flush=True)
    server.run(sockets=[listener])
    return server.exit_code


def _for_whom(options: Options) -> str:
    if options.api_key:
        return " for those who bring the key"
    is_open = options.uds is None and not options.allowed_hosts
    return " for whoever reaches it: EDGE_API_KEY sets a key" if is_open else ""


def _end_with_the_starter() -> None:
    """With EDGE_LIFELINE=stdin: end as after SIGTERM once whoever holds the other end of our standard input is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if os.environ.get("EDGE_LIFELINE") == "stdin":
        threading.Thread(target=watch, daemon=True).start()


def _load(options: Options) -> Model:
    device = gpu_gate.device_for(options.device, options.allow_cpu)
    try:
        model = _model(options, device)
    except ModelError as exc:
        if device == options.device:
            raise
        raise ModelError(f"{exc} It was exported for a GPU; export it for a device without one to serve it on the CPU.") from exc
    gpu_gate.confirm(device, model.provider)
    return model


def _model(options: Options, device: str) -> Model:
    from generate import LocalModel, find_adapters  # loads the library: a second in which /health answers already

    limits = {
        "device": device,
        "max_length": options.max_length,
        "threads": options.threads,
        "together": options.together,
        "reuse": options.reuse,
        "memory": options.memory_mb << 20,
        "kv_bytes": options.kv_bytes_per_token,
        "kv_tokens": options.kv_tokens,
    }
    if options.graphs:
        return LocalModel(options.model, {}, graphs=options.graphs, graphs_in_memory=options.graphs_in_memory, **limits)
    adapters = options.adapters if options.adapters is not None else find_adapters(options.adapters_folder)
    return LocalModel(options.model, adapters, **limits)


def _listen(options: Options) -> socket.socket:
    return _listen_on_path(options.uds) if options.uds else _listen_on_port(options.host, options.port)


def _listen_on_path(path: Path) -> socket.socket:
    """A Unix socket that everybody may use who may enter its folder: the folder's mode is the lock."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise OptionError(f"{path} is too long for a Unix socket ({LONGEST_SOCKET_PATH} bytes). Choose a shorter path.")
    _clear_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()  # from here on connections wait, where before they would be refused
    except OSError as exc:
        raise OptionError(f"Cannot listen on {path}: {exc.strerror}. Mount a folder this user may write to.") from exc
    return listener


def _clear_stale(path: Path) -> None:
    """Take away the socket of a server that was killed; leave alone whatever else is there."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise OptionError(f"{path} is there already and is no socket. Choose another path.")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise OptionError(f"Another server listens on {path}. Stop it, or choose another path.")
    path.unlink()


def _listen_on_port(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # taken over by each connection: else pieces wait 40 ms for an ACK
        return listener
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise OptionError(f"Cannot listen on {host}:{port}: {reason}. Choose another with --host and --port.") from exc


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    return name if isinstance(name, str) else f"http://{name[0]}:{name[1]}"


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    sys.stderr.flush()
    # Not sys.exit: it would wait for the model's thread, which may be in the middle of loading gigabytes.
    os._exit(exit_code)
