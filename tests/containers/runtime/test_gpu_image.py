"""The runtime images for GPUs, run where there is none. Left out where `edge package` has not made them of these very sources: they are large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound
from docker.models.images import Image

from tests.containers.runtime.test_image import HARDENED, PYTHON
from tests.services.fixtures import docker_engine_available  # noqa: F401  (a fixture)
from toolkit.core.images import OwnImage
from toolkit.settings import Settings

MOST_BYTES = {"cuda12": 1_600_000_000, "cuda13": 1_100_000_000}
NO_GPU = {"NVIDIA_VISIBLE_DEVICES": "void"}
"""Also on an engine that gives one to everybody."""

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def client(docker_engine_available: str) -> Iterator[docker.DockerClient]:  # noqa: F811
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(params=list(MOST_BYTES))
def flavour(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def image(client: docker.DockerClient, flavour: str, tmp_path: Path) -> Image:
    tag = OwnImage("runtime", flavour).tag(Settings(home=tmp_path))
    try:
        return client.images.get(tag)
    except ImageNotFound:
        pytest.skip(f"{tag} is not in the engine")


def run(client: docker.DockerClient, image: Image, *argv: str, **environment: str) -> tuple[int, str]:
    """Exit code and words of the image, or of this Python program in it."""
    program = {"entrypoint": PYTHON, "command": list(argv)} if argv else {}
    container = client.containers.create(image.id, environment=NO_GPU | environment, **program, **HARDENED)
    try:
        container.start()
        return container.wait(timeout=60)["StatusCode"], container.logs().decode()
    finally:
        container.remove(force=True)


def test_it_is_no_larger_than_its_budget(image: Image, flavour: str) -> None:
    assert image.attrs["Size"] <= MOST_BYTES[flavour]
    assert image.labels["edge-toolkit.flavour"] == flavour


def test_without_a_gpu_it_refuses_to_start_and_says_what_is_missing(client: docker.DockerClient, image: Image) -> None:
    code, said = run(client, image)
    assert code == 3 and "libcuda.so.1" in said and "--gpus all" in said and "EDGE_ALLOW_CPU=1" in said


def test_who_allows_the_cpu_gets_as_far_as_the_model(client: docker.DockerClient, image: Image) -> None:
    code, said = run(client, image, EDGE_ALLOW_CPU="1")
    assert code == 1 and "Serving on the CPU" in said and "No model in /model" in said


def test_every_library_in_it_loads(client: docker.DockerClient, image: Image) -> None:
    code, said = run(client, image, "/opt/edge/server/selfcheck.py")
    assert code == 0, said


def test_nvidias_licences_are_in_it_and_nothing_of_what_was_left_out(client: docker.DockerClient, image: Image, flavour: str) -> None:
    listing = "import json, os; print(json.dumps([os.path.join(at, name) for at, _, names in os.walk('/opt/edge/cuda') for name in names]))"
    files = json.loads(run(client, image, "-c", listing)[1])
    wheels = {path.split("/")[4] for path in files if ".dist-info/" in path}
    licensed = {path.split("/")[4] for path in files if path.lower().endswith("license.txt")}
    assert wheels and licensed == wheels
    cudnn = sorted(path.rpartition("/")[2] for path in files if "libcudnn" in path)
    assert cudnn == (["libcudnn.so.9", "libcudnn_graph.so.9", "libcudnn_ops.so.9"] if flavour == "cuda12" else [])
