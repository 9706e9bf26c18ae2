"""Steps that were meant for CUDA do not silently work on the CPU."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import accelerator
import cuda_gate
from step_io import StepError

from tests.gpu_files import Environment


@pytest.fixture
def for_cuda(tmp_path, monkeypatch) -> Environment:
    """This environment with packages for CUDA 12 before all others, and no GPU."""
    environment = Environment.for_cuda12(tmp_path / "site")
    monkeypatch.setattr(sys, "path", [str(environment.folder), *sys.path])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("EDGE_ALLOW_CPU", raising=False)
    return environment


def test_another_provider_needs_no_gpu() -> None:
    accelerator.require_cuda("cpu")


def test_a_graph_for_cuda_in_an_environment_for_the_cpu_ends_the_step(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Environment(tmp_path).install("onnxruntime", "1.32.0").folder)])
    with pytest.raises(StepError, match="CUDA was asked for, and this build environment is for the CPU"):
        accelerator.require_cuda("cuda")


def test_onnxruntime_that_would_take_the_cpu_for_cuda_is_found_out(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    error, hint = cuda_gate.fallback()
    assert error.startswith("CUDA was asked for, and ONNX Runtime would compute on the CPU") and "edge doctor" in hint


def test_the_reason_that_onnxruntime_gives_in_passing_is_told(monkeypatch) -> None:
    said = "CudaCall CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; hostname=edge"
    monkeypatch.setattr(cuda_gate, "_PROBE", f"print({said!r}); print('Falling back and retrying.'); print('CPUExecutionProvider')")
    error, _hint = cuda_gate.fallback()
    assert error.endswith("on the CPU: CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version")


def test_onnxruntime_that_does_not_even_start_is_told_in_its_words(monkeypatch) -> None:
    monkeypatch.setattr(cuda_gate, "_PROBE", "raise SystemExit('libcublasLt.so.12: cannot open shared object file')")
    assert "libcublasLt.so.12: cannot open" in cuda_gate.fallback()[0]


def test_training_in_an_environment_for_cuda_does_not_land_on_the_cpu(for_cuda) -> None:
    with pytest.raises(StepError, match="would compute on the CPU in an environment for cuda12") as raised:
        accelerator.require_torch_on_gpu()
    assert "EDGE_ALLOW_CPU=1" in raised.value.hint


def test_training_on_the_cpu_is_allowed_where_a_person_said_so(for_cuda, monkeypatch) -> None:
    monkeypatch.setenv("EDGE_ALLOW_CPU", "1")
    accelerator.require_torch_on_gpu()


def test_training_in_the_cpu_flavour_is_asked_nothing() -> None:
    accelerator.require_torch_on_gpu()


def test_a_cuda_library_that_does_not_load_is_named(for_cuda) -> None:
    for file in for_cuda.folder.glob("nvidia/**/*.so*"):
        file.write_bytes(b"half a download")
    with pytest.raises(StepError, match=r"libcublas.so.12 does not load: .*invalid ELF header|file too short"):
        accelerator.require_cuda("cuda")
