"""What tests share: a run to play with, and a tiny model that went through the whole job once."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tiny
from tests.fakes import FakeEngine
from tests.sample_job import SampleJob
from tests.services.fixtures import base_image, docker_engine_available  # noqa: F401  fixtures
from toolkit.core.run import Run, new_run

# A runner started in the background may ignore Ctrl-C, and would hand that on to every `edge` that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

STEPS = [{"name": name, "kind": name, "options": {}, "inputs": {}} for name in ("quantize", "finetune", "export")]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A build of three steps that nobody has started."""
    return new_run(tmp_path / "runs", "build", "travel", lambda _: {"engine": "fake", "recipe": {"name": "travel"}, "steps": STEPS})


@dataclass(frozen=True)
class TinyBuild:
    """A finished build of the tiny model by the local engine, and its packaging as a folder."""

    home: Path
    recipe: Path
    build: Run
    user_home: Path
    """What the build took for the user's home folder."""
    content: Path
    """model/, adapters/ and device.json, as they go into an image."""


@pytest.fixture(scope="session")
def tiny_build(tmp_path_factory: pytest.TempPathFactory) -> TinyBuild:
    folder = tmp_path_factory.mktemp("tiny")
    recipe = tiny.write_tiny_project(folder / "project")
    home = folder / "home"
    (folder / "user").mkdir()
    for command in (["run", str(recipe)], ["package", "last"]):
        done = tiny.edge(*command, home=home, HOME=str(folder / "user"))
        assert done.returncode == 0, done.stdout + done.stderr
    bench = tiny.local_bench(home)
    return TinyBuild(home, recipe, bench.run("1"), folder / "user", bench.run("2").folder / "content")


@pytest.fixture(scope="session")
def exported_model(tiny_build: TinyBuild, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model folder with its adapters in adapters/."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    shutil.copytree(tiny_build.content / "model", folder)
    shutil.copytree(tiny_build.content / "adapters", folder / "adapters")
    return folder


@pytest.fixture(scope="session")
def sample_job(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[SampleJob]:  # noqa: F811
    """The sample model built, packaged and in the engine."""
    job = SampleJob(tmp_path_factory.mktemp("sample-job"), base_image)
    try:
        job.do()
        yield job
    finally:
        job.undo()


@pytest.fixture(scope="session")
def serving_python() -> str:
    """A Python with onnxruntime-genai and the server's libraries."""
    return str(tiny.BUILD_PYTHON)
