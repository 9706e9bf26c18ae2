"""The runtime image, built and run for real."""

from __future__ import annotations

import io
import os
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
MAX_BYTES = 300_000_000
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

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def engine_client(docker_engine_available: str) -> Iterator[docker.DockerClient]:  # noqa: F811
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    subprocess.run([sys.executable, CONTAINERS / "make_context.py", "runtime", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def image(engine_client: docker.DockerClient, base_image: str, context: Path) -> Iterator[Image]:  # noqa: F811
    built = build(engine_client, base_image, context)
    yield built
    engine_client.images.remove(built.tags[0], force=True, noprune=True)


def build(client: docker.DockerClient, base: str, context: Path, **more: object) -> Image:
    tag = f"edge-toolkit/runtime-cpu:test-{os.getpid()}"
    image, _ = client.images.build(path=str(context), tag=tag, buildargs={"BASE_IMAGE": base}, rm=True, **more)
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


@pytest.fixture
def names(engine_client: docker.DockerClient, image: Image) -> Iterator[list[str]]:
    """Every path in the image."""
    container = engine_client.containers.create(image.id, labels=HARDENED["labels"])
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as archive:
        yield archive.getnames()
    container.remove()


def test_is_well_under_its_budget(image: Image) -> None:
    assert image.attrs["Size"] < MAX_BYTES


def test_holds_nothing_to_install_or_train_with_and_no_shell(names: list[str]) -> None:
    parts = {part.partition("-")[0] for name in names for part in name.split("/")}
    assert not parts & {"pip", "torch", "transformers", "setuptools", "ensurepip", "sh", "bash", "apt", "wheels"}
    assert {"onnxruntime_genai", "numpy", "starlette", "uvicorn", "serve.py"} <= parts


def test_says_which_debian_packages_it_was_made_of(names: list[str]) -> None:
    recorded = {name.rpartition("/")[2] for name in names if "var/lib/dpkg/status.d/" in name}
    assert {"libc6", "libstdc++6", "libssl3", "libpython3.11-stdlib"} <= recorded


def test_runs_as_nobody_special(image: Image) -> None:
    assert image.attrs["Config"]["User"] == "65532:65532"
    assert "ORT_DISABLE_TELEMETRY=1" in image.attrs["Config"]["Env"]


def test_its_libraries_load_where_nothing_may_be_written(run_hardened: Callable[..., Container]) -> None:
    container = run_hardened()
    assert container.wait(timeout=60)["StatusCode"] == 1
    assert "No model in /model" in container.logs().decode()  # said after the libraries were loaded


def test_the_same_content_makes_the_same_layers(
    engine_client: docker.DockerClient,
    base_image: str,  # noqa: F811
    context: Path,
    image: Image,
) -> None:
    again = build(engine_client, base_image, context, nocache=True)
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
