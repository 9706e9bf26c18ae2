"""Who may use the runtime server: those with its key, under its own names, and no page of another site unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.containers.runtime.conftest import Served, chat, until

Start = Callable[..., Served]
KEY = "correct horse battery staple"


# -- the key ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["variable", "file"])
def locked(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Served:
    """A server that asks for a key."""
    (tmp_path / "key").write_text(f"{KEY}\n")
    told = {"EDGE_API_KEY": KEY} if request.param == "variable" else {"EDGE_API_KEY_FILE": str(tmp_path / "key")}
    served = start(**told)
    until(served.is_ready)  # without a key
    return served


def ask_with(served: Served, authorization: str) -> httpx.Response:
    headers = {"authorization": authorization} if authorization else {}
    return served.client().post("/v1/chat/completions", json=chat("say: in"), headers=headers)


def test_with_a_key_only_those_who_bring_it_are_answered(locked: Served) -> None:
    assert ask_with(locked, f"Bearer {KEY}").json()["choices"][0]["message"]["content"] == "in "
    assert ask_with(locked, f"bearer  {KEY}").status_code == 200
    for wrong in ("", "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", KEY, "Bearer \xe4\xf6"):
        answer = locked.client().post(
            "/v1/chat/completions", json=chat("hi"), headers=[(b"authorization", wrong.encode("latin-1"))] if wrong else []
        )
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] in ("missing_api_key", "invalid_api_key")


def test_with_a_key_models_and_metrics_are_closed_and_health_is_open(locked: Served) -> None:
    statuses = {path: locked.client().get(path).status_code for path in ("/health", "/ready", "/v1/models", "/metrics", "/nowhere")}
    assert statuses == {"/health": 200, "/ready": 200, "/v1/models": 401, "/metrics": 401, "/nowhere": 401}


def test_the_key_is_in_no_log_and_on_no_command_line(locked: Served) -> None:
    ask_with(locked, f"Bearer {KEY}")
    ask_with(locked, f"Bearer {KEY}x")
    line = Path(f"/proc/{locked.process.pid}/cmdline").read_text()
    assert locked.stop() == 0
    assert KEY not in locked.log and KEY not in line


@pytest.mark.parametrize(("content", "said"), [("\n", "holds no key"), (None, "cannot be read")])
def test_a_key_file_without_a_key_is_refused(start: Start, tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    served = start("--api-key-file", str(tmp_path / "key"))
    assert served.process.wait(timeout=10) == 2
    assert said in served.log


# -- browsers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_loopback(start: Start) -> str:
    """The address of a server on a port."""
    served = start("--uds", "", "--port", "0")
    until(lambda: "ready after" in served.log)
    return served.log.partition("http://")[2].split()[0]


def test_on_loopback_the_server_answers_to_its_own_names_only(on_loopback: str) -> None:
    port = on_loopback.partition(":")[2]
    for host in (on_loopback, f"localhost:{port}", "LOCALHOST", "[::1]:80"):
        assert httpx.get(f"http://{on_loopback}/v1/models", headers={"host": host}).status_code == 200
    for host in ("evil.example", f"localhost.evil.example:{port}", ""):
        refused = httpx.get(f"http://{on_loopback}/v1/models", headers={"host": host})
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "host_not_allowed"


def test_other_names_can_be_allowed(start: Start) -> None:
    served = start("--uds", "", "--port", "0", EDGE_ALLOWED_HOSTS="Device.local, other")
    until(lambda: "ready after" in served.log)
    address = served.log.partition("http://")[2].split()[0]
    statuses = [httpx.get(f"http://{address}/v1/models", headers={"host": host}).status_code for host in ("device.local:80", "other", "x")]
    assert statuses == [200, 200, 403]


def test_pages_of_other_sites_are_not_invited(served: Served) -> None:
    headers = {"origin": "https://page.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in served.client().get("/v1/models", headers=headers).headers
    assert served.client().options("/v1/chat/completions", headers=headers).status_code == 405


def test_a_site_that_is_invited_may_ask_with_a_key(start: Start) -> None:
    served = start(EDGE_CORS_ORIGIN="https://page.example", EDGE_API_KEY=KEY)
    until(served.is_ready)
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    allowed = served.client().options("/v1/chat/completions", headers=asks | {"origin": "https://page.example"})
    assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == "https://page.example"
    assert served.client().options("/v1/chat/completions", headers=asks | {"origin": "https://other.example"}).status_code == 400
    refused = served.client().get("/v1/models", headers={"origin": "https://page.example"})
    assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == "https://page.example"


def test_a_server_that_anybody_may_reach_says_so_at_its_start(start: Start) -> None:
    served = start("--uds", "", "--port", "0", "--host", "0.0.0.0")
    until(lambda: "ready after" in served.log)
    assert "for whoever reaches it: EDGE_API_KEY sets a key" in served.log
