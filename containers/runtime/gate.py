"""Where every request comes in: let through or sent away, counted, and noted in the log."""

from __future__ import annotations

import hmac

from access_log import AccessLog
from errors import ApiError
from metrics import Metrics
from record import CLIENT_GONE, Record, new_record
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/health", "/ready")
"""Asked by what watches the container, which has no key and calls it by any name."""


class Gate:
    """Asks for the key and the host's name, if told to."""

    def __init__(self, app: ASGIApp, api_key: bytes, hosts: tuple[str, ...], metrics: Metrics, log: AccessLog):
        self._app = app
        self._key = api_key
        self._hosts = hosts
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = new_record(scope)
        self._metrics.begins(record)
        try:
            await self._let_in(scope, record)(scope, receive, _noting(record, send))
        except Exception:
            record.error = "internal_error"
            raise
        finally:
            record.status = CLIENT_GONE if record.error == "client_gone" else record.status or 500
            self._metrics.ended(record)
            self._log.write(record)

    def _let_in(self, scope: Scope, record: Record) -> ASGIApp:
        try:
            if scope["path"] not in OPEN:
                self._check_host(_header(scope, b"host"))
                self._check_key(_header(scope, b"authorization"))
        except ApiError as exc:
            record.error = exc.code or ""
            headers = {"www-authenticate": "Bearer"} if exc.status == 401 else None
            return JSONResponse(exc.body(), status_code=exc.status, headers=headers)
        return self._app

    def _check_host(self, host: bytes) -> None:
        """A page of another site may give its own name our address, and would then count as ours in a browser."""
        if self._hosts and _without_port(host.decode("latin-1")) not in self._hosts:
            message = "This server answers to the names in EDGE_ALLOWED_HOSTS only: " + ", ".join(self._hosts)
            raise ApiError(403, message, code="host_not_allowed")

    def _check_key(self, said: bytes) -> None:
        if not self._key:
            return
        kind, _, key = said.partition(b" ")
        if not said:
            raise ApiError(401, "This server asks for a key. Send the header 'Authorization: Bearer KEY'.", code="missing_api_key")
        if kind.lower() != b"bearer" or not hmac.compare_digest(key.strip(), self._key):
            raise ApiError(401, "That is not the key of this server.", code="invalid_api_key")


def _noting(record: Record, send: Send) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
        await send(message)

    return noting


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
