"""The Compose file of `edge manifest`, started as it says: hardened, behind a key, on loopback, and ended in good order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest
import yaml
from docker.models.containers import Container
from docker.types import Mount

from tests.sample_job import SampleJob
from tests.services.fixtures import free_port

pytestmark = [pytest.mark.engine, pytest.mark.model]
NANOSECONDS = 1_000_000_000
KEY = "a-key-of-this-test"


@pytest.fixture
def settings(sample_job: SampleJob) -> dict:
    printed = sample_job.done("manifest", "1", "--as", "compose", "--port", str(free_port()), "--api-key")
    return yaml.safe_load(printed)


@pytest.fixture
def started(settings: dict, tmp_path: Path) -> Iterator[Container]:
    """The container that Compose would make of it."""
    model = settings["services"]["model"]
    [secret] = model["secrets"]
    key = tmp_path / settings["secrets"][secret]["file"]
    key.write_text(KEY)
    key.chmod(0o444)  # Compose would mount the file as it is, and its owner is whoever runs this
    host, port, inside = model["ports"][0].split(":")
    health = model["healthcheck"]
    container = docker.from_env().containers.run(
        model["image"],
        detach=True,
        user=model["user"],
        read_only=model["read_only"],
        cap_drop=model["cap_drop"],
        security_opt=model["security_opt"],
        pids_limit=model["pids_limit"],
        mem_limit=model["mem_limit"],
        memswap_limit=model["memswap_limit"],
        nano_cpus=int(model["cpus"] * NANOSECONDS),
        environment=model["environment"],
        ports={f"{inside}/tcp": (host, int(port))},
        healthcheck={"test": health["test"], "interval": NANOSECONDS, "retries": health["retries"], "start_period": 120 * NANOSECONDS},
        mounts=[Mount(f"/run/secrets/{secret}", str(key), type="bind", read_only=True)],
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def test_the_compose_file_runs_the_image_as_it_says(settings: dict, started: Container) -> None:
    deadline = time.monotonic() + 120
    while started.attrs["State"].get("Health", {}).get("Status") != "healthy":
        assert time.monotonic() < deadline and started.attrs["State"]["Status"] in ("created", "running"), started.logs().decode()
        time.sleep(0.3)
        started.reload()
    host, port, _ = settings["services"]["model"]["ports"][0].split(":")
    question = {"model": "base:travel", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=60) as client:
        assert client.get("/ready").json()["status"] == "ready"
        assert client.post("/v1/chat/completions", json=question).status_code == 401
        answer = client.post("/v1/chat/completions", json=question, headers={"authorization": f"Bearer {KEY}"}).json()
    assert answer["choices"][0]["message"]["role"] == "assistant" and answer["usage"]["completion_tokens"] >= 1
    assert KEY not in started.logs().decode()
    started.stop(timeout=20)
    started.reload()
    assert started.attrs["State"]["ExitCode"] == 0


def test_once_it_was_pushed_the_file_names_its_digest_and_the_push_means_the_image(sample_job: SampleJob) -> None:
    digest = sample_job.done("push", "1", "--registry", sample_job.target).strip().rpartition("@")[2]
    printed = sample_job.done("manifest", "last", "--as", "quadlet")
    assert f"Image={sample_job.target}@{digest}\n" in printed
