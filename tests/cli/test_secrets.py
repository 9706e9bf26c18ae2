"""The registry's password goes through a pipe and stays nowhere: no file, no command line, no environment of the driver."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from toolkit.errors import ExitCode

pytestmark = pytest.mark.engine


@pytest.fixture
def image(docker_engine_available, tmp_path) -> Iterator[str]:
    """The smallest image that can be pushed."""
    name = f"edge-toolkit/test-secret:{uuid.uuid4().hex[:8]}"
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "Dockerfile").write_text(
        "FROM scratch\nLABEL edge-toolkit.kind=image edge-toolkit.recipe=small\nCOPY Dockerfile /\n"
    )
    subprocess.run(["docker", "build", "-q", "-t", name, tmp_path / "image"], check=True, capture_output=True)
    yield name
    tagged = subprocess.run(["docker", "images", "-q", "--no-trunc", name], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["docker", "rmi", "-f", tagged], check=True, capture_output=True)


def processes() -> Iterator[tuple[bytes, bytes]]:
    """Command line and environment of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()


@pytest.mark.parametrize("way", ["pipe", "environment"])
def test_a_push_leaves_no_trace_of_the_password(desk, image, registry, way):
    secret = registry.password.encode()
    target = f"{registry.address}/small"
    chosen = {"DOCKER_HOST": ""} if way == "pipe" else {"DOCKER_HOST": "", "EDGE_REGISTRY_PASSWORD": registry.password}
    command = ["push", image, "--registry", target, "--username", registry.user, *(["--password-stdin"] if way == "pipe" else [])]
    pushing = subprocess.Popen(
        desk.argv(*command),
        env=desk.environ(**chosen),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pushing.stdin.write(registry.password + "\n")
    pushing.stdin.close()
    driver_was_seen = False
    while pushing.poll() is None:
        for command_line, environ in processes():
            assert secret not in command_line
            if b"toolkit.drive" in command_line and str(desk.home).encode() in command_line:
                driver_was_seen = True
                assert secret not in environ
    assert pushing.returncode == 0, pushing.stderr.read()
    assert driver_was_seen
    release = pushing.stdout.read().splitlines()[-1]
    assert release.startswith(f"{target}@sha256:")
    assert any(path.name == "driver.log" for path in desk.run().folder.iterdir())
    assert not [path for path in desk.home.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_a_wrong_password_is_refused_and_the_push_resumed_with_the_right_one(desk, image, registry):
    command = ["push", image, "--registry", f"{registry.address}/small", "--username", registry.user, "--password-stdin"]
    refused = desk.edge(*command, stdin="wrong\n", DOCKER_HOST="")
    assert refused.returncode == ExitCode.PUBLISH
    assert "refused the credentials" in refused.stderr and "edge resume 0001-publish-small" in refused.stderr
    resumed = desk.edge("resume", "1", "--password-stdin", stdin=registry.password + "\n", DOCKER_HOST="")
    assert resumed.returncode == 0, resumed.stderr
