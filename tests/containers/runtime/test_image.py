"""The runtime image, built and run for real."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import httpx
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from tests.containers.runtime.conftest import chat, until
from tests.services.fixtures import base_image, docker_engine_available  # noqa: F401  (fixtures)

CONTAINERS = Path(__file__).parents[3] / "containers"
MAX_BYTES = 75_000_000
HARDENED = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "network_mode": "none",
    "pids_limit": 64,
    "mem_limit": "1g",
    "labels": {"edge-toolkit.test": "yes"},
}
"""As a device or the chat screen runs it: nothing but the model and the socket's folder to touch."""
MADE_BY_THE_ENGINE = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"}
PYTHON = ["/usr/bin/python3", "-S"]

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine_client(docker_engine_available: str) -> Iterator[docker.DockerClient]:  # noqa: F811
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    make_context(folder)
    return folder


def make_context(folder: Path, umask: int = 0o022) -> None:
    subprocess.run([sys.executable, CONTAINERS / "make_context.py", "runtime", folder], check=True, umask=umask)


@pytest.fixture(scope="module")
def image(engine_client: docker.DockerClient, base_image: str, context: Path) -> Iterator[Image]:  # noqa: F811
    built = build(engine_client, base_image, context)
    yield built
    engine_client.images.remove(built.tags[0], force=True, noprune=True)


def build(client: docker.DockerClient, base: str, context: Path, **more: object) -> Image:
    tag = f"edge-toolkit/runtime-cpu:test-{os.getpid()}"
    image, _ = client.images.build(path=str(context), tag=tag, buildargs={"BASE_IMAGE": base}, target="cpu", rm=True, **more)
    return image


@pytest.fixture
def run_hardened(engine_client: docker.DockerClient, image: Image) -> Iterator[Callable[..., Container]]:
    started: list[Container] = []

    def _run(**more: object) -> Container:
        started.append(engine_client.containers.run(image.id, detach=True, **(HARDENED | more)))
        return started[-1]

    yield _run
    for container in started:
        container.remove(force=True)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder that the container's user may write to, with a path short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="edge-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def files(engine_client: docker.DockerClient, image: Image) -> dict[str, str]:
    """Every path in the image; the sha256 of those that are files."""
    container = engine_client.containers.create(image.id, labels=HARDENED["labels"])
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as archive:
        found = {entry.name: digest(archive.extractfile(entry).read()) if entry.isfile() else "" for entry in archive}
    container.remove()
    return {name: content for name, content in found.items() if name not in MADE_BY_THE_ENGINE}


@pytest.fixture(scope="module")
def origins(engine_client: docker.DockerClient, image: Image) -> dict:
    """What the image says of where it came from."""
    read = [*PYTHON[1:], "-c", "print(open('/opt/edge/origins.json').read())"]
    return json.loads(engine_client.containers.run(image.id, read, entrypoint=PYTHON[0], remove=True))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_is_within_its_budget(image: Image) -> None:
    assert image.attrs["Size"] < MAX_BYTES


def test_holds_nothing_to_install_compute_or_speak_tls_with_and_no_shell(files: dict[str, str]) -> None:
    parts = {re.split(r"[-.]", part)[0] for name in files for part in name.split("/")}
    unwanted = {"pip", "torch", "transformers", "setuptools", "ensurepip", "sh", "bash", "apt", "wheels", "numpy", "libssl", "libcrypto"}
    assert not parts & unwanted
    assert {"libonnxruntime", "starlette", "uvicorn", "serve"} <= parts


def test_every_file_is_accounted_for(files: dict[str, str], origins: dict) -> None:
    described = {name.removeprefix("/"): found["sha256"] for name, found in origins["files"].items()}
    assert described == {name: content for name, content in files.items() if content and name != "opt/edge/origins.json"}
    assert {found["from"] for found in origins["files"].values()} == set(origins["components"])


def test_says_which_packages_and_wheels_it_was_made_of(files: dict[str, str], origins: dict) -> None:
    packages = {found["name"] for found in origins["components"].values() if found["kind"] == "deb"}
    assert {"libc6", "libstdc++6", "libpython3.11-stdlib", "python3.11-minimal"} <= packages
    assert packages == {name.rpartition("/")[2] for name in files if "var/lib/dpkg/status.d/" in name}  # as scanners look for them
    wheels = {found["name"]: found for found in origins["components"].values() if found["kind"] == "wheel"}
    lock = (CONTAINERS / "runtime/cpu.lock").read_text()
    assert len(wheels) == len(re.findall(r"^\w", lock, re.MULTILINE))
    assert all(f"\n{name}=={found['version']} " in f"\n{lock}" and found["sha256"] in lock for name, found in wheels.items())


def test_runs_as_nobody_special(image: Image) -> None:
    assert image.attrs["Config"]["User"] == "65532:65532"
    assert "ORT_DISABLE_TELEMETRY=1" in image.attrs["Config"]["Env"]


def test_its_libraries_load_where_nothing_may_be_written(run_hardened: Callable[..., Container]) -> None:
    container = run_hardened()
    assert container.wait(timeout=60)["StatusCode"] == 1
    assert "No model in /model" in container.logs().decode()  # said after the libraries were loaded


def test_everything_in_it_loads(run_hardened: Callable[..., Container]) -> None:
    container = run_hardened(entrypoint=[*PYTHON, "/opt/edge/server/selfcheck.py"])
    assert container.wait(timeout=60)["StatusCode"] == 0, container.logs().decode()


@pytest.mark.parametrize("missing", ["onnxruntime_genai/libonnxruntime-genai.so", "h11/_events.pyc"])
def test_its_load_test_finds_what_is_broken(run_hardened: Callable[..., Container], missing: str) -> None:
    broken = [f"/dev/null:/opt/edge/packages/{missing}:ro"]
    container = run_hardened(entrypoint=[*PYTHON, "/opt/edge/server/selfcheck.py"], volumes=broken)
    assert container.wait(timeout=60)["StatusCode"] == 1
    assert "does not load" in container.logs().decode()


def test_the_same_content_makes_the_same_layers_whoever_lays_it_out(
    engine_client: docker.DockerClient,
    base_image: str,  # noqa: F811
    context: Path,
    image: Image,
    tmp_path: Path,
) -> None:
    other = tmp_path / "context"
    shutil.copytree(context / "wheels", other / "wheels")  # they need no fetching again
    make_context(other, umask=0o077)
    again = build(engine_client, base_image, other, nocache=True)
    assert again.attrs["RootFS"]["Layers"] == image.attrs["RootFS"]["Layers"]


def test_answers_on_a_socket_hardened(run_hardened: Callable[..., Container], exported_model: Path, socket_folder: Path) -> None:
    mounts = [f"{exported_model}:/model:ro", f"{socket_folder}:/run/edge"]
    container = run_hardened(volumes=mounts, environment={"EDGE_UDS": "/run/edge/chat.sock"})
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket_folder / "chat.sock")), base_url="http://edge", timeout=60) as client:
        until(lambda: _is_ready(client), seconds=60)
        answer = client.post("/v1/chat/completions", json=chat("What is the capital of France?", max_tokens=12)).json()
        assert answer["choices"][0]["message"]["content"].strip()
        code, _ = container.exec_run(["/usr/bin/python3", "-S", "/opt/edge/server/health.py"])
        assert code == 0
    _assert_wrote_nothing(container)
    began = time.monotonic()
    container.stop(timeout=10)
    assert time.monotonic() - began < 5
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def _assert_wrote_nothing(container: Container) -> None:
    """The read-only root is the rule; this sees to it that nothing was even made on top of it."""
    changed = {change["Path"] for change in container.diff() or []}
    assert changed <= {"/run", "/run/edge", "/model", "/dev", "/proc", "/sys", "/etc"}


def test_the_health_check_says_no_before_the_model_is_there(run_hardened: Callable[..., Container]) -> None:
    # PID 1 is no server here: the check finds nobody listening
    container = run_hardened(entrypoint=["/usr/bin/python3", "-S", "-c", "import time; time.sleep(60)"])
    code, said = container.exec_run(["/usr/bin/python3", "-S", "/opt/edge/server/health.py"])
    assert code == 1
    assert b"no answer" in said
