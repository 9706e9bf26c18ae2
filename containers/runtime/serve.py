"""Serve a model: `python serve.py --model FOLDER --adapters FOLDER --uds PATH`, or `--host` and `--port`.

Ends with 0 on SIGTERM, 1 where the model cannot be served, 2 where it is told something wrong.
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
from pathlib import Path

import uvicorn
from api import make_app
from model import Model, ModelError
from options import OptionError, Options, read_options
from starlette.applications import Starlette

LONGEST_SOCKET_PATH = 107
"""Bytes the system allows for the path of a Unix socket."""


class Server(uvicorn.Server):
    """A server that ends itself, in good order, on SIGTERM: as PID 1 of a container nobody else would."""

    def __init__(self, config: uvicorn.Config, app: Starlette):
        super().__init__(config)
        self.app = app
        self.failed = False

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
        server.failed = True
        server.should_exit = True

    app = make_app(lambda: _load(options), load_failed)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        http="h11",
        ws="none",
        loop="asyncio",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=options.drain_seconds,
    )
    server = Server(config, app)
    _end_with_the_starter()
    print(f"listening on {_address(listener)}", file=sys.stderr, flush=True)
    server.run(sockets=[listener])
    return 1 if server.failed else 0


def _end_with_the_starter() -> None:
    """With EDGE_LIFELINE=stdin: end as after SIGTERM once whoever holds the other end of our standard input is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if os.environ.get("EDGE_LIFELINE") == "stdin":
        threading.Thread(target=watch, daemon=True).start()


def _load(options: Options) -> Model:
    from generate import LocalModel, find_adapters  # loads the library: a second in which /health answers already

    limits = {"device": options.device, "max_length": options.max_length, "threads": options.threads}
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
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        raise OptionError(f"Cannot listen on {host}:{port}: {exc.strerror}. Choose another with --port.") from exc


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    return name if isinstance(name, str) else f"http://{name[0]}:{name[1]}"


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    sys.stderr.flush()
    # Not sys.exit: it would wait for the model's thread, which may be in the middle of loading gigabytes.
    os._exit(exit_code)
