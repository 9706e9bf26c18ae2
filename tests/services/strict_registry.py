"""A registry on loopback that keeps to the letter of the specification, and can be each of the odd ones that real ones are.

What it refuses it notes in `wrongs`: a client that is as it should be leaves none.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
HALF, NOTHING, LOST = "half", "nothing", "lost"
PART = 64 << 10


@dataclass
class Fault:
    """Something that goes wrong with requests that fit."""

    method: str
    path: str = ""
    """Expression that is found in it."""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    """Of the request's content, so many bytes are read and then the connection is gone. After all of it: the work is done, the answer lost."""
    times: int = 1
    skip: int = 0

    def fits(self, method: str, path: str) -> bool:
        if method != self.method or not re.search(self.path, path) or not self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass
class _Upload:
    repository: str
    content: bytearray = field(default_factory=bytearray)
    states: list[str] = field(default_factory=lambda: [""])
    is_lost: bool = False
    has_short_piece: bool = False


@dataclass
class StrictRegistry:
    keeps: str = HALF
    """What a cut inside a piece leaves: half of it, nothing, or an upload that is lost, as in docker-registry 2.8."""
    least_piece: int = 0
    most_piece: int = 0
    quota: int = 0
    sign_in: str = ""
    """basic or token."""
    token_seconds: float = 3600
    says_life: bool = True
    has_store: bool = False
    """Uploads go to another host, which has a way in of its own."""
    faults: list[Fault] = field(default_factory=list)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path, without what follows the question mark."""
    wrongs: list[str] = field(default_factory=list)
    bytes_in: int = 0
    """Content of all requests."""
    private: set[str] = field(default_factory=set)
    """Repositories that tokens may not be had for."""
    scopes: list[str] = field(default_factory=list)

    user, password = "edge", "not-a-secret"

    @contextmanager
    def running(self) -> Iterator[StrictRegistry]:
        self._uploads: dict[str, _Upload] = {}
        self._tokens: dict[str, tuple[float, set[str]]] = {}
        self._lock = threading.Lock()
        servers = [_Server(self), _Server(self)]
        self.address, self.store = (f"127.0.0.1:{server.server_address[1]}" for server in servers)
        try:
            yield self
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def forget_uploads(self) -> None:
        self._uploads.clear()

    def count(self, method: str, path: str = "") -> int:
        return sum(asked == method and bool(re.search(path, where)) for asked, where in self.requests)

    # -- answers ----------------------------------------------------------------------------------------------------

    def answer(self, request: _Request) -> None:
        path = urlsplit(request.path).path
        self.requests.append((request.command, path))
        if path == "/token":
            return self._token(request)
        fault = next((fault for fault in self.faults if fault.fits(request.command, request.path)), None)
        if fault and fault.status:
            request.content()
            return request.says(fault.status, fault.body, fault.headers)
        request.cut_after = fault.cut_after if fault else None
        is_store = request.headers["Host"] == self.store
        if is_store and "Authorization" in request.headers:
            self.wrongs.append("our credentials went to a store")
        found = re.fullmatch(r"/v2/(.+?)/(blobs|manifests)/(uploads/)?([^/]*)", path)
        if not found:
            return self._refuse(request, 404, "NAME_UNKNOWN")
        repository, kind, upload, name = found.groups()
        if not is_store and not self._is_let_in(request, repository):
            return None
        if kind == "manifests":
            return self._manifest(request, repository, name)
        if upload is None:
            return self._blob(request, repository, name)
        if not name:
            return self._begin(request, repository)
        with self._lock:
            return self._goes_on(request, repository, name)

    def _is_let_in(self, request: _Request, repository: str) -> bool:
        needs = {f"repository:{repository}:{'pull' if request.command in ('GET', 'HEAD') else 'push'}"}
        if source := request.query.get("from"):
            needs.add(f"repository:{source}:pull")
        word = request.headers.get("Authorization", "")
        if self.sign_in == "token":
            until, scopes = self._tokens.get(word.removeprefix("Bearer "), (0.0, set()))
            is_in = until > time.monotonic() and needs <= scopes
            asked = " ".join(sorted(needs))
            way = f'Bearer realm="http://{self.address}/token",service="strict",scope="{asked}"'
        else:
            is_in, way = not self.sign_in or word == self._basic(), 'Basic realm="strict"'
        if not is_in:
            request.content()
            request.says(401, _error("UNAUTHORIZED"), {"WWW-Authenticate": way})
        return is_in

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def _token(self, request: _Request) -> None:
        if request.headers.get("Authorization") != self._basic():
            return request.says(401, _error("UNAUTHORIZED"))
        asked = parse_qs(urlsplit(request.path).query).get("scope", [])
        self.scopes += asked
        given = {f"{name}:{action}" for name, _, actions in (scope.rpartition(":") for scope in asked) for action in actions.split(",")}
        token = secrets.token_hex(8)
        self._tokens[token] = (
            time.monotonic() + self.token_seconds,
            {scope for scope in given if scope.split(":")[1] not in self.private},
        )
        life = {"expires_in": self.token_seconds} if self.says_life else {}
        return request.says(200, json.dumps({"token": token, **life}).encode())

    def _manifest(self, request: _Request, repository: str, name: str) -> None:
        if request.command == "PUT":
            content = request.content()
            listed = json.loads(content)
            missing = [
                entry["digest"] for entry in [listed["config"], *listed["layers"]] if (repository, entry["digest"]) not in self.blobs
            ]
            if missing or request.headers["Content-Type"] != listed["mediaType"]:
                return self._refuse(request, 400, "MANIFEST_BLOB_UNKNOWN")
            self.tags[repository, name] = _digest(content)
            self.manifests[repository, _digest(content)] = content
            return request.says(201, headers={"Docker-Content-Digest": _digest(content), "Location": "/"})
        digest = self.tags.get((repository, name), name)
        content = self.manifests.get((repository, digest))
        if content is None:
            return request.says(404, _error("MANIFEST_UNKNOWN"))
        return request.says(200, content, {"Docker-Content-Digest": digest, "Content-Type": MANIFEST})

    def _blob(self, request: _Request, repository: str, digest: str) -> None:
        content = self.blobs.get((repository, digest))
        return request.says(404, _error("BLOB_UNKNOWN")) if content is None else request.says(200, content)

    def _begin(self, request: _Request, repository: str) -> None:
        request.content()
        mounted, source = request.query.get("mount", ""), request.query.get("from", "")
        if (source, mounted) in self.blobs:
            self.blobs[repository, mounted] = self.blobs[source, mounted]
            return request.says(201, headers={"Location": f"/v2/{repository}/blobs/{mounted}"})
        name = secrets.token_hex(8)
        self._uploads[name] = upload = _Upload(repository)
        more = {"OCI-Chunk-Min-Length": str(self.least_piece)} if self.least_piece else {}
        return request.says(202, headers={**self._where(name, upload), **more})

    def _where(self, name: str, upload: _Upload) -> dict[str, str]:
        """It moves with every answer; the place before is good too, for its answer may have been lost."""
        upload.states = [upload.states[-1], secrets.token_hex(8)]
        host = f"http://{self.store}" if self.has_store else ""
        place = f"{host}/v2/{upload.repository}/blobs/uploads/{name}?_state=secret-{upload.states[-1]}"
        return {"Location": place, "Range": f"0-{max(0, len(upload.content) - 1)}"}

    def _goes_on(self, request: _Request, repository: str, name: str) -> None:
        upload = self._uploads.get(name)
        is_right = upload and upload.repository == repository and request.query.get("_state", "").removeprefix("secret-") in upload.states
        if not upload or upload.is_lost or not is_right:
            request.content()
            return request.says(404, _error("BLOB_UPLOAD_INVALID"))
        if request.command == "GET":
            return request.says(204, headers=self._where(name, upload))
        if request.command == "PATCH":
            return self._piece(request, name, upload)
        return self._finish(request, repository, name, upload)

    def _piece(self, request: _Request, name: str, upload: _Upload) -> None:
        size, place = int(request.headers.get("Content-Length", -1)), len(upload.content)
        if self.most_piece and size > self.most_piece:
            request.content()
            return request.says(413, b"<html>too large</html>")
        if request.headers.get("Content-Range") != f"{place}-{place + size - 1}" or size < 1:
            request.content()
            return self._refuse(request, 416, "RANGE_INVALID", self._where(name, upload))
        if upload.has_short_piece:
            return self._refuse(request, 416, "SIZE_INVALID")
        try:
            content = request.content()
        except _Cut as cut:
            if self.keeps == HALF or (self.keeps == LOST and cut.read):
                upload.content += cut.read[: len(cut.read) // 2] if self.keeps == HALF else cut.read
            upload.is_lost = self.keeps == LOST and bool(cut.read)
            raise
        stored = sum(len(blob) for blob in self.blobs.values()) + len(upload.content)
        if self.quota and stored + len(content) > self.quota:
            return request.says(500, _error("UNKNOWN", {"Err": "write: no space left on device"}))
        upload.content += content
        upload.has_short_piece = size < self.least_piece
        return request.says(202, headers=self._where(name, upload))

    def _finish(self, request: _Request, repository: str, name: str, upload: _Upload) -> None:
        content = bytes(upload.content) + request.content()
        digest = request.query.get("digest", "")
        del self._uploads[name]
        if _digest(content) != digest:
            return self._refuse(request, 400, "DIGEST_INVALID")
        self.blobs[repository, digest] = content
        return request.says(201, headers={"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _refuse(self, request: _Request, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.wrongs.append(f"{request.command} {code}")
        request.says(status, _error(code), headers)


class _Cut(Exception):
    def __init__(self, read: bytes) -> None:
        self.read = read


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, registry: StrictRegistry) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.registry = registry
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class _Request(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    cut_after: int | None = None

    def handle_one_request(self) -> None:
        self.cut_after = None
        with suppress(OSError):
            try:
                super().handle_one_request()
            except _Cut:
                self.cut()

    def cut(self) -> None:
        """At once: what is on its way is gone."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def do_GET(self) -> None:
        self.server.registry.answer(self)

    do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def content(self) -> bytes:
        size = int(self.headers.get("Content-Length") or 0)
        wanted, read = size if self.cut_after is None else min(size, self.cut_after), bytearray()
        while len(read) < wanted:
            part = self.rfile.read(min(PART, wanted - len(read)))
            self.server.registry.bytes_in += len(part)
            read += part
            if not part:
                raise _Cut(bytes(read))
        if wanted < size:
            raise _Cut(bytes(read))
        return bytes(read)

    def says(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        if self.cut_after is not None:
            raise _Cut(b"")
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def _error(code: str, detail: object = None) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " "), "detail": detail}]}).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
