"""The registry that tests push to is a real one: it wants its password, keeps what it got, and can die."""

from __future__ import annotations

import base64
import hashlib
import urllib.error
import urllib.request

import pytest

from tests.services.fixtures import Registry, registry  # noqa: F401  (fixture)


def test_wants_its_password(registry: Registry) -> None:  # noqa: F811
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{registry.address}/v2/")
    assert refused.value.code == 401
    assert _call(registry, "GET", "/v2/").status == 200


def test_counts_its_bytes_and_keeps_them_over_a_kill(registry: Registry) -> None:  # noqa: F811
    content = b"edge" * 1000
    assert registry.stored_bytes() == 0
    place = _call(registry, "POST", "/v2/app/blobs/uploads/").headers["Location"]
    digest = hashlib.sha256(content).hexdigest()
    assert _call(registry, "PUT", f"{place.partition(registry.address)[2]}&digest=sha256:{digest}", content).status == 201
    assert registry.stored_bytes() == len(content)
    registry.kill()
    with pytest.raises(urllib.error.URLError):
        _call(registry, "GET", "/v2/")
    registry.start()
    assert _call(registry, "GET", f"/v2/app/blobs/sha256:{digest}").read() == content


def _call(service: Registry, method: str, path: str, body: bytes | None = None):
    word = base64.b64encode(f"{service.user}:{service.password}".encode()).decode()
    headers = {"Authorization": f"Basic {word}", "Content-Type": "application/octet-stream"}
    return urllib.request.urlopen(urllib.request.Request(f"http://{service.address}{path}", body, headers, method=method), timeout=10)
