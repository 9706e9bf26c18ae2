"""The flavour that fits a machine is taken; what was chosen and cannot run is refused with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit import settings
from toolkit.core.cuda_driver import Driver
from toolkit.core.flavour import Gpu, for_engine, for_environment
from toolkit.errors import EngineError, ToolkitError

NONE = Gpu()
OLD = Gpu(Driver("550.54.15", "12.4"))
NEW = Gpu(Driver("580.95.05", "13.0"))
ANCIENT = Gpu(Driver("470.256.02", "11.4"))
BROKEN = Gpu(failure="nvidia-smi fails: Driver/library version mismatch")
WITH, WITHOUT = ("io.containerd.runc.v2", "nvidia", "runc"), ("runc",)


@pytest.mark.parametrize(
    ("gpu", "runtimes", "flavour", "because"),
    [
        (NONE, WITHOUT, "cpu", "no NVIDIA driver"),
        (NONE, WITH, "cpu", "no NVIDIA driver"),
        (OLD, WITH, "cuda12", "CUDA 12.4"),
        (NEW, WITH, "cuda13", "CUDA 13.0"),
        (ANCIENT, WITH, "cpu", "CUDA 11.4"),
        (BROKEN, WITH, "cpu", "library version mismatch"),
        (NEW, WITHOUT, "cpu", "Install nvidia-container-toolkit"),
    ],
)
def test_the_best_that_driver_and_engine_can_run_is_taken(gpu: Gpu, runtimes: tuple[str, ...], flavour: str, because: str) -> None:
    choice = for_engine("auto", gpu, runtimes)
    assert (choice.flavour, choice.uses_gpu) == (flavour, flavour != "cpu")
    assert because in choice.sentence


@pytest.mark.parametrize(("wanted", "gpu"), [("cpu", NEW), ("cuda12", NEW), ("cuda13", NEW), ("cuda12", OLD)])
def test_what_was_chosen_and_runs_is_taken(wanted: str, gpu: Gpu) -> None:
    assert for_engine(wanted, gpu, WITH).flavour == wanted


@pytest.mark.parametrize(
    ("wanted", "gpu", "runtimes", "said", "way_out"),
    [
        ("cuda13", OLD, WITH, "runs CUDA 12.4", "release 580 or newer; or choose the cuda12 flavour"),
        ("cuda12", ANCIENT, WITH, "runs CUDA 11.4", "release 525 or newer; or choose the cpu flavour"),
        ("cuda12", NONE, WITHOUT, "no NVIDIA driver", "choose the cpu flavour"),
        ("cuda12", BROKEN, WITH, "library version mismatch", "Put the driver right"),
        ("cuda12", NEW, WITHOUT, "no GPU runtime", "Install nvidia-container-toolkit"),
    ],
)
def test_what_was_chosen_and_cannot_run_is_refused(wanted: str, gpu: Gpu, runtimes: tuple[str, ...], said: str, way_out: str) -> None:
    with pytest.raises(EngineError) as refused:
        for_engine(wanted, gpu, runtimes)
    assert said in refused.value.message and way_out in refused.value.hint


@pytest.mark.parametrize(
    ("wanted", "gpu", "installed", "flavour"),
    [
        ("auto", NEW, ("cuda12", "cuda13"), "cuda13"),
        ("auto", NEW, ("cuda12",), "cuda12"),
        ("auto", OLD, ("cuda13",), "cpu"),
        ("auto", NEW, (), "cpu"),
        ("cuda12", NONE, (), "cuda12"),
    ],
)
def test_the_local_engine_takes_the_best_of_the_environments_that_are_made(
    wanted: str, gpu: Gpu, installed: tuple[str, ...], flavour: str
) -> None:
    assert for_environment(wanted, gpu, installed) == flavour


def test_an_environment_that_is_not_made_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    from toolkit.local_engine import LocalEngine
    from toolkit.settings import Settings

    absent = Settings(tmp_path, build_python=tmp_path / ".venv-build-cuda12" / "bin" / "python")
    with pytest.raises(EngineError, match="make build-env FLAVOUR=cuda12"):
        LocalEngine(absent).serve("model", tmp_path)


def test_an_environment_that_was_set_serves_for_every_flavour(tmp_path: Path) -> None:
    own = settings.load({"EDGE_BUILD_PYTHON": str(tmp_path / "python"), "EDGE_FLAVOUR": "cuda12", "HOME": str(tmp_path)})
    assert own.flavour == "cuda12"
    assert own.environment("cuda12") == tmp_path / "python"
    assert own.environments() == ()


def test_an_unknown_flavour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolkitError, match="cuda12"):
        settings.load({"EDGE_FLAVOUR": "cuda11", "HOME": str(tmp_path)})
