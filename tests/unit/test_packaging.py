"""The image step of a packaging run: a layout in the run's folder, the very image in the engine, and no byte twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench.synthetic import ADAPTERS, adapter_file, finished_build, write_adapter, write_manifest
from tests.fakes import FakeEngine
from tests.paper_engine import PaperEngine
from toolkit.core import oci_layout, packaging
from toolkit.core.device import find
from toolkit.core.hoststeps import HostSteps
from toolkit.core.images import OwnImage
from toolkit.core.run import Run, new_run
from toolkit.core.workbench import Workbench
from toolkit.settings import Settings

ADAPTER = 40_000


@pytest.fixture
def engine() -> PaperEngine:
    return PaperEngine()


@pytest.fixture
def bench(tmp_path: Path, engine: PaperEngine) -> Workbench:
    settings, driver = Settings(home=tmp_path / "home"), FakeEngine()
    engine.add_base(OwnImage("runtime", "cpu").tag(settings), [b"python", b"packages", b"server"])
    return Workbench(settings, lambda _: driver, lambda _: driver, lambda: engine, lambda: engine, lambda *_: None)


@pytest.fixture
def build(bench: Workbench) -> Run:
    return finished_build(bench.settings.runs, 300_000, ADAPTER)


def package(bench: Workbench, build: Run) -> Run:
    """A packaging run up to the image."""
    asked = packaging.request(build, find(bench.settings.devices, "cpu"), "docker")
    run = new_run(bench.settings.runs, "package", "bench", lambda _: {**asked, "steps": asked["steps"][:2]})
    assert HostSteps(bench, run, {}).all_done(), run.state().problem
    return run


def test_the_run_holds_a_layout_whose_configuration_is_the_engines_image(bench, build, engine):
    run = package(bench, build)
    layout = oci_layout.read(run.folder / "image")
    made = {artifact.kind: artifact for artifact in run.state().artifacts}
    assert (made["layout"].path, f"sha256:{made['layout'].sha256}", made["layout"].bytes) == ("image", layout.manifest, layout.bytes)
    assert f"sha256:{made['image'].sha256}" == layout.config == engine.find(made["image"].path).id
    names = [layer.name for layer in layout.layers]
    assert names == ["runtime", "runtime", "runtime", "model", *(f"adapter {name}" for name in ADAPTERS), "configuration"]


def test_the_model_is_on_the_disk_once_beside_the_build(bench, build):
    run = package(bench, build)
    model = os.stat(run.folder / "content" / "model" / "model.onnx.data")
    assert model.st_ino == os.stat(build.folder / "steps/export-cpu/out/model.onnx.data").st_ino, "the content is links"
    large = {os.stat(path).st_ino for path in run.folder.rglob("*") if path.is_file() and path.stat().st_size >= 300_000}
    assert len(large) == 2, "the build's file and the layer"


def test_the_same_build_again_is_the_same_image_and_moves_nothing(bench, build):
    first, second = package(bench, build), package(bench, build)
    one, other = (oci_layout.read(run.folder / "image") for run in (first, second))
    assert (one.manifest, one.config) == (other.manifest, other.config)
    metrics = second.state().steps["image"].metrics
    assert metrics["written_bytes"] == 0 and metrics["loaded_bytes"] <= 20_000


def test_a_retrained_adapter_is_all_that_is_written_and_loaded(bench, build):
    package(bench, build)
    write_adapter(adapter_file(build, ADAPTERS[-1]), ADAPTER)
    write_manifest(build)
    metrics = package(bench, build).state().steps["image"].metrics
    size = adapter_file(build, ADAPTERS[-1]).stat().st_size
    assert size <= metrics["written_bytes"] <= size + 20_000
    assert size <= metrics["loaded_bytes"] <= size + 20_000
