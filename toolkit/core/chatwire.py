"""HTTP to a model's server over its Unix socket or port: one connection a request, that another thread may cut at any time."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from toolkit.core.engine import Server

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 600.0
"""Between two words of the server: a long prompt on a slow device is silent for minutes."""


class WireError(Exception):
    """The server did not answer, or not to the end."""


class Refused(Exception):
    """The server answered, and said no."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Exchange:
    """One request to a server, and its answer."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self.is_cut = False

    def cut(self) -> None:
        """Hang up at once, from any thread: whoever waits for the answer is woken."""
        with self._lock:
            self.is_cut = True
            if self._socket is None:
                return
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # gone already

    def get(self, path: str, seconds: float = ANSWER_SECONDS) -> dict:
        """The JSON at `path`.

        Raises:
            WireError: no answer.
            Refused: an answer other than 200.
        """
        with _named_failures(), self._answer("GET", path, None, seconds) as answer:
            return json.loads(answer.read())

    def stream(self, path: str, body: dict) -> Iterator[dict]:
        """The JSON of each event that the server sends as its answer.

        Raises:
            WireError: no answer, or it broke off; also after `cut`.
            Refused: an answer other than 200.
        """
        with _named_failures(), self._answer("POST", path, body, ANSWER_SECONDS) as answer:
            for line in answer:
                if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                    yield json.loads(line[6:])

    def _answer(self, method: str, path: str, body: dict | None, seconds: float) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("edge")
        connection.sock = self._connect(seconds)
        content = None if body is None else json.dumps(body).encode()
        headers = {"Host": "localhost", "Content-Type": "application/json", "Connection": "close"}
        if self._server.api_key:
            headers["Authorization"] = f"Bearer {self._server.api_key}"
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            with answer:
                raise _refusal(answer.status, answer.read())
        return answer

    def _connect(self, seconds: float) -> socket.socket:
        if self._server.port:
            connected = socket.create_connection(("127.0.0.1", self._server.port), CONNECT_SECONDS)
        else:
            connected = socket.socket(socket.AF_UNIX)
            connected.settimeout(CONNECT_SECONDS)
            connected.connect(str(self._server.socket))
        connected.settimeout(seconds)
        with self._lock:
            self._socket = connected
            if self.is_cut:
                raise WireError("cut")
        return connected


@contextmanager
def _named_failures() -> Iterator[None]:
    """What sockets, HTTP and JSON raise, as WireError."""
    try:
        yield
    except (OSError, http.client.HTTPException, json.JSONDecodeError) as exc:
        raise WireError(str(exc) or type(exc).__name__) from exc


def _refusal(status: int, body: bytes) -> Refused:
    try:
        error = json.loads(body)["error"]
        return Refused(status, error["message"], error.get("code") or "")
    except (ValueError, KeyError, TypeError):
        return Refused(status, f"The model's server answered {status}: {body[:200].decode('utf-8', 'replace')}", "")
