"""A server of the lab: over TLS or plain, it answers by itself or relays to a service on loopback, counts, and does what its faults say."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time
import traceback
from http.server import ThreadingHTTPServer

from tests.azure.calls import Answer, Call
from tests.azure.certs import Certificates
from tests.azure.faults import Fault, Faults
from tests.azure.relay import Handler


class Front(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    backend: tuple[int, ssl.SSLContext | None] | None = None
    """Port on loopback that it relays to, and how to trust it."""

    def __init__(self, certificates: Certificates | None, unknown: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[Call] = []
        self.bytes_in = self.bytes_out = 0
        """Of bodies only; those of requests that were cut or refused count as well."""
        self.clock_skew = 0.0
        """Seconds that this server's clock is ahead of ours."""
        self.unknown = unknown
        """Every request that no front has an answer for."""
        self._faults = Faults()
        self._counting = threading.Lock()
        self._tls = None
        if certificates:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificates.certificate, certificates.key)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def requests(self) -> list[tuple[str, str]]:
        return [(call.method, call.path) for call in self.calls]

    def asked(self, method: str, path: str = "") -> list[Call]:
        """Calls of this method whose path has `path` in it."""
        return [call for call in self.calls if call.method == method and path in call.path]

    def fault(self, fault: Fault) -> Fault:
        return self._faults.add(fault)

    def reset(self) -> None:
        """No calls, no bytes, no faults; `forget_calls` keeps the faults."""
        self._faults.clear()
        self.clock_skew = 0.0
        self.forget_calls()

    def forget_calls(self) -> None:
        with self._counting:
            self.calls.clear()
            self.bytes_in = self.bytes_out = 0

    def now(self) -> float:
        return time.time() + self.clock_skew

    def answer(self, call: Call) -> Answer | None:
        """Its own answer; None where it has none and relays."""
        return None

    def relays(self, call: Call) -> bool:
        return self.backend is not None

    def holds_back(self, call: Call) -> bool:
        """Nothing of this request reaches the service before all of it is here."""
        return False

    def about_to_relay(self, call: Call) -> dict[str, str]:
        """Headers that the service gets in place of the client's."""
        return {}

    def about_to_answer(self, call: Call, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The service's headers as the client gets them."""
        return headers

    def take_fault(self, call: Call, target: str) -> Fault | None:
        return self._faults.take(call.method, target)

    def count(self, into: int = 0, out: int = 0) -> None:
        with self._counting:
            self.bytes_in += into
            self.bytes_out += out

    def finish_request(self, request: socket.socket, client_address: object) -> None:
        # In the connection's own thread: a handshake that stalls holds up nobody else.
        if self._tls:
            try:
                request = self._tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        request.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news; anything else is a fault of the lab and fails the test."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.unknown.append("".join(traceback.format_exception(error)))
