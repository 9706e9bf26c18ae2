"""What builds in images run in: the base it is made on, and the GPU it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import FakeImages
from tests.services.fixtures import base_image, docker_engine_available  # noqa: F401  fixtures
from toolkit.core import lifecycle
from toolkit.core.engine import LABEL
from toolkit.core.images import OwnImage, python_of
from toolkit.core.run import new_run
from toolkit.docker_engine import BuildImage, DockerEngine, connect
from toolkit.errors import EngineError
from toolkit.settings import load


@pytest.mark.engine
@pytest.mark.usefixtures("docker_engine_available")
def test_a_build_for_the_gpu_on_an_engine_without_gpu_runtime_says_what_to_install(docker_build_image: str, home: Path) -> None:
    engine = DockerEngine(connect(), build_image=lambda: BuildImage(docker_build_image, with_gpu=True))
    if "nvidia" in engine.facts().runtimes:
        pytest.skip("this engine has a GPU runtime")
    run = new_run(
        home / "runs", "build", "gpu", lambda folder: {"engine": "docker", "recipe": {}, "cache": str(home / "cache"), "steps": []}
    )
    with pytest.raises(EngineError, match="nvidia-container-toolkit"):
        lifecycle.start(engine, run)
    assert run.state().status == "interrupted"
    engine.forget(run)


@pytest.mark.engine
@pytest.mark.usefixtures("docker_engine_available")
def test_the_python_of_a_base_is_asked_of_the_base(base_image: str) -> None:  # noqa: F811
    assert python_of(DockerEngine(connect()), base_image) == "3.11"


@pytest.mark.parametrize(
    ("said", "python"), [("3.12\n", "3.12"), ("system ubuntu 24.04\n", "3.12"), ("A banner\nsystem debian 12\n", "3.11")]
)
def test_a_base_without_python_gets_that_of_its_system(said: str, python: str) -> None:
    assert python_of(FakeImages(answers={"base": (0, said)}), "base") == python


@pytest.mark.parametrize(("said", "seen"), [("3.10\n", "has Python 3.10"), ("system ubuntu 22.04\n", "is ubuntu 22.04"), ("", "no system")])
def test_a_base_that_there_are_no_wheels_for_is_refused(said: str, seen: str) -> None:
    with pytest.raises(EngineError, match=seen) as refused:
        python_of(FakeImages(answers={"base": (0, said)}), "base")
    assert "Debian 12 or Ubuntu 24.04" in refused.value.hint


def test_the_lock_of_another_flavour_does_not_make_an_image_another(tmp_path: Path) -> None:
    containers = tmp_path / "containers"
    (containers / "build").mkdir(parents=True)
    for flavour in ("cpu", "cuda12"):
        (containers / "build" / f"{flavour}.lock").write_text("torch==1\n")
    chosen = load({"EDGE_CONTAINERS": str(containers), "HOME": str(tmp_path)})
    before = {flavour: OwnImage("build", flavour).tag(chosen) for flavour in ("cpu", "cuda12")}
    (containers / "build" / "cuda12.lock").write_text("torch==2\n")
    after = {flavour: OwnImage("build", flavour).tag(chosen) for flavour in ("cpu", "cuda12")}
    assert after["cpu"] == before["cpu"] and after["cuda12"] != before["cuda12"]
    assert after["cuda12"].startswith("edge-toolkit/build-cuda12:")


@pytest.mark.engine
@pytest.mark.usefixtures("docker_engine_available")
def test_a_program_in_an_image_is_asked_and_leaves_no_container(docker_build_image: str) -> None:
    engine = DockerEngine(connect())
    code, said = engine.ask(docker_build_image, ["doctor", "--json"])
    assert code == 0 and json.loads(said)["seen"] == "no runtime library is installed"
    assert connect().containers.list(all=True, filters={"label": f"{LABEL}.kind=question"}) == []


@pytest.mark.engine
@pytest.mark.usefixtures("docker_engine_available")
def test_a_question_that_cannot_be_started_leaves_no_container(docker_build_image: str) -> None:
    engine = DockerEngine(connect())
    if "nvidia" in engine.facts().runtimes:
        pytest.skip("this engine has a GPU runtime")
    with pytest.raises(EngineError, match="asking"):
        engine.ask(docker_build_image, ["doctor"], gpu=True)
    assert connect().containers.list(all=True, filters={"label": f"{LABEL}.kind=question"}) == []
