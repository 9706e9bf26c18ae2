"""A registry on loopback that holds manifests only, and can be as odd as real ones are: paging, tokens, no list of tags."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class PaperRegistry:
    """Repository `travel`; `put` gives it an image whose layers have these diff ids and sizes."""

    tags: dict[str, dict] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    lists_tags: bool = True
    page: int = 100
    sign_in: str = ""
    """basic or token; empty: none is asked."""
    says: bytes = b""
    """Sent instead of every answer."""
    asked: list[str] = field(default_factory=list)

    user, password = "edge", "not-a-secret"

    def put(self, tag: str, layers: dict[str, int], image_config: dict | None = None) -> str:
        """Returns the digest of the configuration, which is the image's id."""
        config = json.dumps(image_config or {"rootfs": {"diff_ids": list(layers)}}).encode()
        digest = _digest(config)
        self.blobs[digest] = config
        stored = [{"digest": _digest(diff_id.encode()), "size": size} for diff_id, size in layers.items()]
        self.tags[tag] = {"config": {"digest": digest, "size": len(config)}, "layers": stored}
        return digest

    def put_index(self, tag: str, *images: str) -> None:
        """An image for several platforms: the images of these tags."""
        self.tags |= {_digest(json.dumps(self.tags[name]).encode()): self.tags[name] for name in images}
        self.tags[tag] = {"manifests": [{"digest": _digest(json.dumps(self.tags[name]).encode())} for name in images]}

    def start(self) -> None:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = urlsplit(request.path)
        self.asked.append(request.path)
        if self.says:
            return _send(request, 200, self.says)
        if asked.path == "/token":
            is_right = request.headers.get("Authorization") == self._basic()
            return _send(request, 200 if is_right else 401, json.dumps({"token": "ticket"}).encode())
        if not self._is_let_in(request):
            way = 'Basic realm="edge"' if self.sign_in == "basic" else f'Bearer realm="http://{self.address}/token",service="paper"'
            return _send(request, 401, b"{}", {"WWW-Authenticate": way})
        _, _, rest = asked.path.partition("/v2/travel/")
        kind, _, name = rest.partition("/")
        if kind == "manifests" and name in self.tags:
            body = json.dumps(self.tags[name]).encode()
            return _send(request, 200, body, {"Content-Type": MANIFEST, "Docker-Content-Digest": _digest(body)})
        if kind == "blobs" and name in self.blobs:
            return _send(request, 200, self.blobs[name])
        if kind == "tags" and self.lists_tags:
            return self._list_tags(request, parse_qs(asked.query))
        return _send(request, 404, b"{}")

    def _is_let_in(self, request: BaseHTTPRequestHandler) -> bool:
        wanted = {"basic": self._basic(), "token": "Bearer ticket"}.get(self.sign_in)
        return wanted is None or request.headers.get("Authorization") == wanted

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def _list_tags(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        names = sorted(tag for tag in self.tags if not tag.startswith("sha256:"))
        if not names:
            return _send(request, 404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')
        later = [name for name in names if name > query.get("last", [""])[0]]
        shown = later[: self.page]
        more = {"Link": f'</v2/travel/tags/list?last={shown[-1]}&n={self.page}>; rel="next"'} if len(later) > self.page else {}
        return _send(request, 200, json.dumps({"name": "travel", "tags": shown}).encode(), more)


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
