"""The proxy that keeps real clients in the lab: it leads the hosts it knows to loopback and refuses every other one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from fnmatch import fnmatch
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.ports = ports
        """Loopback port by host name, which may begin with `*.`."""
        self.reset()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self) -> None:
        self.delay = 0.0
        """Seconds that each piece of data waits on its way to the client."""
        self.refused: list[str] = []
        """Every request for another host: what would have left this machine."""
        self.up: Counter[str] = Counter()
        self.down: Counter[str] = Counter()
        """Bytes on the wire by host, heads and TLS and all."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def moved(self) -> int:
        """Bytes on the wire, both ways."""
        return self.up.total() + self.down.total()

    def port(self, host: str) -> int | None:
        return next((port for name, port in self.ports.items() if fnmatch(host.lower(), name)), None)


class _Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        host, _, port = self.path.partition(":")
        known = self.server.port(host)
        if known is None or port != "443":
            return self._refuse()
        with socket.create_connection(("127.0.0.1", known)) as there:
            self.send_response(200)
            self.end_headers()
            down, up = self.server.down, self.server.up
            back = threading.Thread(
                target=_pump, args=(there, self.connection, partial(_count, down, host), self.server.delay), daemon=True
            )
            back.start()
            _pump(self.connection, there, partial(_count, up, host))
            back.join()
        self.close_connection = True

    def do_GET(self) -> None:
        self._refuse()

    do_POST = do_GET

    def _refuse(self) -> None:
        self.server.refused.append(f"{self.command} {self.path}")
        self.send_error(403, "Not in this lab")

    def log_message(self, *_: object) -> None: ...


def _count(into: Counter[str], host: str, size: int) -> None:
    into[host] += size


def _pump(source: socket.socket, sink: socket.socket, count, delay: float = 0) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 18):
            time.sleep(delay)
            count(len(data))
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
