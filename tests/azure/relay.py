"""One connection of a front: what comes is counted, befallen by faults, answered or relayed. No body that is relayed is held whole."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import itertools
import json
import socket
import struct
import tempfile
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from tests.azure.calls import Answer, Call, error, read_body
from tests.azure.faults import Cut, Fault

if TYPE_CHECKING:
    from tests.azure.fronts import Front

PIECE = 1 << 18
OF_ONE_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "proxy-authorization",
    "proxy-connection",
    "expect",
}


class Handler(BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: object) -> None: ...

    def date_time_string(self, timestamp: float | None = None) -> str:
        return email.utils.formatdate(self.server.now(), usegmt=True)

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, headers.get("host", "").partition(":")[0].lower(), urllib.parse.unquote(parts.path), query, headers)
        self.server.calls.append(call)
        fault = self.server.take_fault(call, self.path)
        try:
            self._do(call, fault)
        except Cut:
            self._cut()
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    def _do(self, call: Call, fault: Fault | None) -> None:
        if fault and fault.is_answer:
            self._drain(self._pieces(call, None))
            self._reply(call, fault.status, fault.body, dict(fault.headers))
            fault.reached.set()
            return
        if self.server.relays(call):
            refusal = self.server.answer(call)
            if refusal is None:
                return self._relay(call, fault)
            self._drain(self._pieces(call, None))
            return self._say(call, refusal, fault)
        body = b"".join(self._pieces(call, fault))
        call.sent = read_body(call.headers.get("content-type", ""), body)
        answer = self.server.answer(call)
        if answer is None:
            self.server.unknown.append(f"{call.method} {call.host}{self.path}")
            answer = error(501, "NotInTheLab", self.path)
        self._say(call, answer, fault)

    def _pieces(self, call: Call, fault: Fault | None) -> Iterator[bytes]:
        """The request's body as it comes, up to where a fault cuts it."""
        left_to_fault = fault.after if fault and self._has_body() else None
        for piece in self._raw():
            self.server.count(into=len(piece))
            call.body_bytes += len(piece)
            if left_to_fault is not None and len(piece) >= left_to_fault:
                yield piece[:left_to_fault]
                fault.strike()
                piece, left_to_fault = piece[left_to_fault:], None
            elif left_to_fault is not None:
                left_to_fault -= len(piece)
            yield piece

    def _has_body(self) -> bool:
        return self._is_chunked() or int(self.headers.get("Content-Length") or 0) > 0

    def _is_chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding", "").lower() == "chunked"

    def _raw(self) -> Iterator[bytes]:
        if not self._is_chunked():
            yield from self._exactly(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield from self._exactly(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            piece = self.rfile.read1(min(count, PIECE))
            if not piece:
                raise ConnectionError("the client went away")
            count -= len(piece)
            yield piece

    def _drain(self, pieces: Iterator[bytes]) -> None:
        for _ in pieces:
            pass

    def _relay(self, call: Call, fault: Fault | None) -> None:
        port, trust = self.server.backend
        kind = {} if trust is None else {"context": trust}
        there = (http.client.HTTPSConnection if trust else http.client.HTTPConnection)("127.0.0.1", port, timeout=300, **kind)
        try:
            self._send_on(there, call, fault)
            answer = there.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in (*OF_ONE_HOP, "date", "server")]
            headers = self.server.about_to_answer(call, headers)
            if fault and fault.cut_after is not None and self._has_body():
                fault.strike()  # the body was shorter than where it was to be cut
            self._pass_back(call, answer, headers, None if self._has_body() else fault)
        finally:
            there.close()

    def _held_back(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with tempfile.TemporaryFile() as held:
            for piece in pieces:
                held.write(piece)
            held.seek(0)
            while piece := held.read(PIECE):
                yield piece

    def _send_on(self, there: http.client.HTTPConnection, call: Call, fault: Fault | None) -> None:
        changed = self.server.about_to_relay(call)
        pieces = self._pieces(call, fault)
        if self.server.holds_back(call):
            pieces = self._held_back(pieces)
            first = next(pieces, b"")
            pieces = itertools.chain([first], pieces)
        there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in OF_ONE_HOP and name.lower() not in changed:
                there.putheader(name, value)
        for name, value in changed.items():
            if value:
                there.putheader(name, value)
        if self._is_chunked():
            there.putheader("Transfer-Encoding", "chunked")
        try:
            there.endheaders()
            for piece in pieces:
                if piece:
                    there.send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked() else piece)
            if self._is_chunked():
                there.send(b"0\r\n\r\n")
        except BrokenPipeError:  # the service has answered already
            self._drain(pieces)

    def _pass_back(self, call: Call, answer: http.client.HTTPResponse, headers: list[tuple[str, str]], fault: Fault | None) -> None:
        has_body = call.method != "HEAD" and answer.status not in (204, 304)
        is_chunked = has_body and answer.length is None
        left = fault.after if fault else None
        if left == 0:
            fault.strike()
            left = None
        call.status = answer.status
        self.send_response(answer.status, answer.reason)
        for name, value in headers:
            self.send_header(name, value)
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while has_body and (piece := answer.read1(PIECE)):
            if left is not None and len(piece) >= left:
                self._put(piece[:left], is_chunked)
                fault.strike()
                piece, left = piece[left:], None
            elif left is not None:
                left -= len(piece)
            self._put(piece, is_chunked)
        if left is not None:
            fault.strike()
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _put(self, piece: bytes, is_chunked: bool) -> None:
        self.server.count(out=len(piece))
        if piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)

    def _say(self, call: Call, answer: Answer, fault: Fault | None) -> None:
        if fault:
            fault.strike()  # small talk: cut or paused before it is answered
        body = answer.value if isinstance(answer.value, bytes) else b"" if answer.value is None else json.dumps(answer.value).encode()
        self._reply(call, answer.status, body, {"Content-Type": "application/json", **answer.headers})

    def _reply(self, call: Call, status: int, body: bytes, headers: dict[str, str]) -> None:
        call.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if call.method != "HEAD" and body:
            self.server.count(out=len(body))
            self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR)
