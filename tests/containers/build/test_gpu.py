"""What the build program says of GPUs: before the long work, when one goes away, and as the doctor in the image."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_run_steps import PROGRAM, bench, events, last, worked  # noqa: F401  a fixture

from tests.gpu_files import Environment

sys.path.insert(0, str(PROGRAM.parent))

import cuda_gate
from child import describe
from gpu_trouble import trouble_in
from shared import cuda_stack

NOTHING = cuda_stack.Stack()


def environ_with(environment: Environment | None = None, **more: str) -> dict[str, str]:
    """Our environment on a machine without a GPU, with these packages before all others."""
    path = {"PYTHONPATH": str(environment.folder)} if environment else {}
    return {**os.environ, **path, "PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", **more}


def build(bench, run: Path, environ: dict[str, str]) -> int:  # noqa: F811
    return subprocess.run(bench.command(run), env=environ, timeout=60).returncode


# -- before the long work ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(cuda_gate.installed().cuda), reason="this environment is for CUDA")
def test_a_recipe_for_cuda_in_an_environment_for_the_cpu_ends_before_any_work(bench) -> None:  # noqa: F811
    run = bench.make_run("0001-build", finetune={"provider": "cuda", "device": "h200"})
    assert build(bench, run, environ_with()) == 1
    ending = last(run)
    assert isinstance(ending, events.StepFailed) and ending.step == "quantize" and worked(run) == []
    assert ending.error.startswith("The recipe is for h200 (CUDA), and this build environment is for the CPU")
    assert "leave h200 out" in ending.hint


def test_a_build_environment_for_cuda_without_a_gpu_ends_before_any_work(bench, tmp_path) -> None:  # noqa: F811
    run = bench.make_run("0001-build")
    assert build(bench, run, environ_with(Environment.for_cuda12(tmp_path / "site"))) == 1
    assert worked(run) == [] and "would not run on a GPU" in last(run).error and "EDGE_ALLOW_CPU=1" in last(run).hint


def test_who_allows_the_cpu_gets_it(bench, tmp_path) -> None:  # noqa: F811
    run = bench.make_run("0001-build")
    assert build(bench, run, environ_with(Environment.for_cuda12(tmp_path / "site"), EDGE_ALLOW_CPU="1")) == 0
    assert worked(run) == ["quantize", "finetune-travel"]


def test_what_comes_from_the_cache_needs_no_gpu(bench, tmp_path) -> None:  # noqa: F811
    environment = Environment.for_cuda12(tmp_path / "site")
    assert build(bench, bench.make_run("0001-build"), environ_with(environment, EDGE_ALLOW_CPU="1")) == 0
    again = bench.make_run("0002-build")
    assert build(bench, again, environ_with(environment)) == 0 and worked(again) == []


def test_a_build_for_the_cpu_is_asked_nothing() -> None:
    assert cuda_gate.refusal([{"options": {"provider": "cpu"}}, {"options": {}}], NOTHING, {}) is None


# -- the doctor -------------------------------------------------------------------------------------------------------


def doctor(environment: Environment, *words: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-S", str(PROGRAM), "doctor", *words]
    return subprocess.run(argv, env=environ_with(environment), capture_output=True, text=True, timeout=60)


def test_the_doctor_in_an_image_for_cuda_says_that_no_driver_is_visible(tmp_path) -> None:
    said = doctor(Environment.for_cuda12(tmp_path))
    assert said.returncode == 1
    assert said.stdout.startswith("[problem] a consistent CUDA 12 set (torch 2.10.0, onnxruntime-gpu 1.26.0, onnxruntime-genai-cuda 0.14.1")
    assert "NVIDIA driver" in said.stdout and "\n  fix: " in said.stdout


def test_the_doctor_in_an_image_speaks_to_programs_too(tmp_path) -> None:
    said = doctor(Environment(tmp_path).install("onnxruntime", "1.32.0"), "--json")
    assert said.returncode == 0
    assert json.loads(said.stdout) == {"level": "ok", "seen": "onnxruntime 1.32.0 for the CPU: the cpu flavour", "fix": ""}


# -- when it goes away ------------------------------------------------------------------------------------------------

TORCH_FULL = """\
Traceback (most recent call last):
  File "/opt/edge/build/step_finetune.py", line 160, in <module>
    main(finetune)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB of which 1.50 GiB is free. \
Including non-PyTorch memory, this process has 138.29 GiB memory in use. Of the allocated memory 130.11 GiB is allocated by PyTorch, and \
6.53 GiB is reserved by PyTorch but unallocated.
"""
OLD_TORCH_FULL = (
    "CUDA out of memory. Tried to allocate 1.70 GiB. GPU 0 has a total capacty of 6.00 GiB of which 0 bytes is free. Of the rest"
)
ORT_FULL = (
    "RuntimeError: /onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:114 onnxruntime::CudaCall CUDA failure 2: out of memory ;"
    " GPU=0 ; hostname=edge ; expr=cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);"
)
TORCH_LOST = """\
Traceback (most recent call last):
  File "/opt/edge/build/step_finetune.py", line 160, in <module>
    main(finetune)
torch.AcceleratorError: CUDA error: no CUDA-capable device is detected
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


@pytest.mark.parametrize(
    ("text", "kind", "error", "hint"),
    [
        (TORCH_FULL, "finetune", "GPU 0 has too little memory: 2.00 GiB more were needed, 1.50 GiB of 139.80 GiB were free.", "finetune.batch_size"),
        (OLD_TORCH_FULL, "quantize", "1.70 GiB more were needed, 0 bytes of 6.00 GiB were free", "quantize.sequence_length"),
        (ORT_FULL, "evaluate", "too little memory (CUDA failure 2: out of memory)", "export.context_length"),
        (TORCH_LOST, "finetune", "The GPU went away during the step: no CUDA-capable device is detected", "Resume"),
        ("RuntimeError: No CUDA GPUs are available", "", "went away", "Resume"),
        ("CUDA failure 46: CUDA-capable device(s) is/are busy or unavailable ; GPU=0", "", "went away", "Resume"),
        ("torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", "", "a fault of its own", "restart the machine"),
        ("torch.AcceleratorError: CUDA error: device-side assert triggered", "", "A program on the GPU failed", "Resume"),
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", "", "A program on the GPU failed", "Resume"),
        ("Cuda interface not available: CUDA driver version is insufficient for CUDA runtime version", "", "do not go together", "edge doctor"),
        ("UserWarning: The NVIDIA driver on your system is too old (found version 12080).", "", "do not go together", "edge doctor"),
    ],
)  # fmt: skip
def test_trouble_with_the_gpu_is_told_as_such(text: str, kind: str, error: str, hint: str) -> None:
    trouble = trouble_in(text, kind, ask=lambda: "")
    assert error in trouble.error and hint in trouble.hint


def test_a_gpu_taken_from_a_container_is_told_with_the_known_trap() -> None:
    trouble = trouble_in(TORCH_LOST, "finetune", ask=lambda: "Failed to initialize NVML: Unknown Error")
    assert "nvidia-smi now says: Failed to initialize NVML: Unknown Error" in trouble.error
    assert "a new container gets it back" in trouble.hint and "systemd is reloaded" in trouble.hint


def test_a_gpu_that_fell_off_its_bus_needs_a_restart() -> None:
    said = "Unable to determine the device handle for GPU0000:01:00.0: GPU is lost. Reboot the system to recover this GPU"
    trouble = trouble_in(TORCH_LOST, "finetune", ask=lambda: said)
    assert "Reboot the system" in trouble.error and "fell off the bus needs a restart" in trouble.hint


@pytest.mark.parametrize(
    "text", ["", "ValueError: the rows are empty", "MemoryError", "/onnxruntime/core/framework/bfc_arena.cc Extending"]
)
def test_other_trouble_is_not_blamed_on_the_gpu(text: str) -> None:
    assert trouble_in(text, "finetune", ask=lambda: "") is None


def test_a_step_that_lost_its_gpu_is_described_by_that_and_not_by_the_last_line(tmp_path) -> None:
    (tmp_path / "log.txt").write_text(f"CUDA out of memory, trying half the batch\n{TORCH_LOST}")
    failure = describe(1, tmp_path, "finetune")
    assert "no CUDA-capable device is detected" in failure.error and str(tmp_path / "log.txt") in failure.hint


def test_what_a_library_said_through_a_step_is_looked_at_too(tmp_path) -> None:
    said = {"error": TORCH_FULL.splitlines()[-1], "hint": "The whole story is in the step's log."}
    (tmp_path / "error.json").write_text(json.dumps(said))
    assert "2.00 GiB more were needed" in describe(3, tmp_path, "finetune").error


def test_a_step_that_told_the_way_out_itself_is_believed(tmp_path) -> None:
    (tmp_path / "error.json").write_text(json.dumps({"error": "CUDA out of memory even with one row.", "hint": "Lower data.max_tokens."}))
    assert describe(3, tmp_path, "finetune").hint == "Lower data.max_tokens."


def test_a_process_that_cuda_killed_is_described_by_cuda(tmp_path) -> None:
    (tmp_path / "log.txt").write_text(
        "terminate called after throwing an instance of 'c10::AcceleratorError'\n  what():  CUDA error: unspecified launch failure\n"
    )
    assert "A program on the GPU failed: unspecified launch failure" in describe(134, tmp_path, "quantize").error
