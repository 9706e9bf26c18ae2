"""A TCP relay on loopback that counts the bytes going up: what a push really sends."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable
from contextlib import suppress


class Cut(Exception):
    """Both ends see it end, at once."""


class CountingProxy(socketserver.ThreadingTCPServer):
    """Relays every connection to `target`; `sent` is what clients have sent through it."""

    daemon_threads = True

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target = target
        self.sent = 0
        self.cut_at = 0
        """Once so many bytes were sent, the connection that sends is cut; once. 0: none."""
        self._counting = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def count(self, size: int) -> None:
        """Raises Cut where the connection is to end here."""
        with self._counting:
            self.sent += size
            if self.cut_at and self.sent >= self.cut_at:
                self.cut_at = 0
                raise Cut


class _Relay(socketserver.BaseRequestHandler):
    server: CountingProxy

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as registry:
            answers = threading.Thread(target=_copy, args=(registry, self.request, lambda size: None), daemon=True)
            answers.start()
            try:
                _copy(self.request, registry, self.server.count)
            except Cut:
                for end in (registry, self.request):
                    with suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        end.shutdown(socket.SHUT_RDWR)
            answers.join()


def _copy(source: socket.socket, sink: socket.socket, count: Callable[[int], None]) -> None:
    with suppress(OSError):  # either side may hang up
        while data := source.recv(1 << 16):
            count(len(data))
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
