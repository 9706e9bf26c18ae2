"""The proxy that keeps real clients in the lab: it leads the hosts it knows to loopback and refuses every other one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.ports = ports
        """Loopback port by host name."""
        self.delay = 0.0
        """Seconds that each piece of data waits on its way to the client."""
        self.refused: list[str] = []
        """Every request for another host: what would have left this machine."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Tunnel(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        host, _, port = self.path.partition(":")
        if host not in self.server.ports or port != "443":
            return self._refuse()
        with socket.create_connection(("127.0.0.1", self.server.ports[host])) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(there, self.connection, self.server.delay), daemon=True)
            back.start()
            _pump(self.connection, there)
            back.join()
        self.close_connection = True

    def do_GET(self) -> None:
        self._refuse()

    do_POST = do_GET

    def _refuse(self) -> None:
        self.server.refused.append(f"{self.command} {self.path}")
        self.send_error(403, "Not in this lab")

    def log_message(self, *_: object) -> None: ...


def _pump(source: socket.socket, sink: socket.socket, delay: float = 0) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            time.sleep(delay)
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
