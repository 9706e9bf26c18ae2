"""A TCP relay on loopback that counts the bytes going up: what a push really sends."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress


class CountingProxy(socketserver.ThreadingTCPServer):
    """Relays every connection to `target`; `sent` is what clients have sent through it."""

    daemon_threads = True

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target = target
        self.sent = 0
        self._counting = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def count(self, size: int) -> None:
        with self._counting:
            self.sent += size


class _Relay(socketserver.BaseRequestHandler):
    server: CountingProxy

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as registry:
            answers = threading.Thread(target=_copy, args=(registry, self.request, lambda size: None), daemon=True)
            answers.start()
            _copy(self.request, registry, self.server.count)
            answers.join()


def _copy(source: socket.socket, sink: socket.socket, count: Callable[[int], None]) -> None:
    with suppress(OSError):  # either side may hang up
        while data := source.recv(1 << 16):
            count(len(data))
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
