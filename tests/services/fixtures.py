"""Real services for tests, on loopback: what `up.sh` found, and a registry that wants a password.

A test module, or a conftest, takes what it uses: `from tests.services.fixtures import docker_engine_available, registry`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

STATE = Path(__file__).parent / ".state"


def state() -> dict[str, str]:
    """What `up.sh` wrote; nothing where it was never run."""
    if not STATE.exists():
        return {}
    return dict(line.split("=", 1) for line in STATE.read_text().splitlines())


def missing(what: str, way_out: str) -> None:
    """Skip for want of a service on a developer's machine; fail on CI, where it must be there."""
    message = f"{what} is missing: {way_out}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def docker_engine_available() -> str:
    """Version of the engine that answers."""
    asked = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True)
    if asked.returncode != 0:
        missing("A Docker engine", "run tests/services/up.sh as root, or start Docker")
    return asked.stdout.strip()


@pytest.fixture(scope="session")
def base_image(docker_engine_available: str) -> str:
    """An image with Debian 12 to build on."""
    name = state().get("base_image", "")
    if not name:
        missing("A base image", "run tests/services/up.sh as root")
    return name


@dataclass
class Registry:
    """A registry of one's own on loopback, its storage a folder that can be looked into."""

    folder: Path
    port: int
    user: str = "edge"
    password: str = "not-a-secret"
    _process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    def stored_bytes(self) -> int:
        """Bytes of every blob the registry keeps, each counted once."""
        blobs = self.storage / "docker/registry/v2/blobs"
        return sum(path.stat().st_size for path in blobs.rglob("data"))

    def start(self) -> None:
        self.storage.mkdir(parents=True, exist_ok=True)
        (self.folder / "htpasswd").write_text(_htpasswd(self.user, self.password))
        config = self.folder / "config.yml"
        config.write_text(_CONFIG.format(storage=self.storage, port=self.port, htpasswd=self.folder / "htpasswd"))
        with (self.folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        self._wait()

    def kill(self) -> None:
        """End it at once, in mid-push if need be; `start` brings it back at the same address."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/", timeout=1)
            except urllib.error.HTTPError as exc:
                if exc.code == 401:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"The registry did not start: {(self.folder / 'registry.log').read_text()[-2000:]}")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A fresh, empty registry that wants a password."""
    if state().get("registry") != "yes":
        missing("docker-registry or htpasswd", "run tests/services/up.sh as root")
    service = Registry(tmp_path / "registry", free_port())
    service.start()
    yield service
    service.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _htpasswd(user: str, password: str) -> str:
    command = ["htpasswd", "-niB", user]
    return subprocess.run(command, input=password, capture_output=True, text=True, check=True).stdout


_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
auth:
  htpasswd: {{realm: edge, path: {htpasswd}}}
"""
