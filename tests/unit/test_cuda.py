"""CUDA on a machine made of files: what is linked against what, which driver runs it, what does not go together."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.gpu_files import CUDA12, CUDA13, Environment, write_library
from toolkit.core.cuda_driver import Driver, Places, Sight, driver_here, kernel_release, sight
from toolkit.core.cuda_stack import PAIRS, Stack, faults_of, generation, look, system_libraries, wheel_of
from toolkit.core.cuda_verdict import judge
from toolkit.core.elf import Linked, links_of

NEW, OLD = Driver("580.159.04", "13.0"), Driver("550.54.14", "12.4")
ONE_GPU = Sight("13.0", 1)


def stack_of(environment: Environment) -> Stack:
    return look([environment.folder])


# -- libraries --------------------------------------------------------------------------------------------------------


def test_a_library_tells_its_name_and_its_links(tmp_path: Path) -> None:
    path = write_library(tmp_path / "lib" / "liba.so", ["libb.so.1", "libc.so.6"], "liba.so.3", "$ORIGIN/../up:/opt")
    assert links_of(path) == Linked("liba.so.3", ("libb.so.1", "libc.so.6"), (f"{tmp_path}/lib/../up", "/opt"))


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ" + bytes(200), b"\x7fELF\x02\x01" + b"\xff" * 200])
def test_what_is_no_library_has_no_links(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(content)
    assert links_of(path) is None and links_of(tmp_path / "missing.so") is None


def test_every_cut_of_a_library_is_survived(tmp_path: Path) -> None:
    whole = write_library(tmp_path / "lib.so", ["libb.so.1"]).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut.so").write_bytes(whole[:size])
        links = links_of(tmp_path / "cut.so")
        assert links is None or set(links.needed) <= {"libb.so.1"}


@pytest.mark.skipif(not shutil.which("readelf"), reason="binutils are not installed")
def test_the_libraries_of_this_python_are_read_as_readelf_reads_them() -> None:
    files = sorted(Path(sysconfig.get_paths()["platlib"]).rglob("*.so"))[:20]
    assert files
    for file in files:
        lines = subprocess.run(["readelf", "-dW", file], capture_output=True, text=True).stdout.splitlines()
        assert list(links_of(file).needed) == [line.rpartition("[")[2].rstrip("]") for line in lines if "(NEEDED)" in line]


@pytest.mark.parametrize(
    ("soname", "cuda"),
    [("libcudart.so.12", 12), ("libcublasLt.so.13", 13), ("libcufft.so.11", 12), ("libcufft.so.12", 13), ("libcurand.so.10", 0), ("libcudnn.so.9", 0)],
)  # fmt: skip
def test_names_of_libraries_tell_their_cuda_where_they_can(soname: str, cuda: int) -> None:
    assert generation(soname) == cuda


# -- environments -----------------------------------------------------------------------------------------------------


def test_a_consistent_environment_has_no_faults(tmp_path: Path) -> None:
    stack = stack_of(Environment.for_cuda12(tmp_path))
    assert stack.flavour == "cuda12" and not stack.missing and not faults_of(stack, "pip")
    assert str(stack) == "torch 2.10.0, onnxruntime-gpu 1.26.0, onnxruntime-genai-cuda 0.14.1 for CUDA 12"


def test_the_trap_of_one_pin_is_a_mix_and_the_fix_names_both(tmp_path: Path) -> None:
    trap = Environment(tmp_path).genai().onnxruntime("1.31.1", CUDA13).wheels({*CUDA12, *CUDA13} - {"libcuda.so.1"})
    (fault,) = faults_of(stack_of(trap), "/env/bin/pip")
    assert "onnxruntime-gpu 1.31.1, linked to CUDA 13" in fault.seen and "onnxruntime-genai-cuda 0.14.1, linked to CUDA 12" in fault.seen
    assert fault.fix == "`/env/bin/pip install onnxruntime-gpu==1.26.0 onnxruntime-genai-cuda==0.14.1`"


def test_onnxruntime_is_moved_to_the_cuda_of_torch(tmp_path: Path) -> None:
    mixed = Environment.for_cuda12(tmp_path)
    write_library(tmp_path / "torch" / "lib" / "libtorch_cuda.so", ["libcudart.so.13"])
    mixed.wheels(["libcudart.so.13"])
    (fault,) = faults_of(stack_of(mixed), "pip")
    assert "torch 2.10.0, linked to CUDA 13" in fault.seen
    assert fault.fix == f"`pip install {' '.join(PAIRS[13])}`"


def test_two_packages_of_one_runtime_are_refused(tmp_path: Path) -> None:
    (fault,) = faults_of(stack_of(Environment.for_cuda12(tmp_path).install("onnxruntime", "1.32.0")), "pip")
    assert "onnxruntime and onnxruntime-gpu are both installed" in fault.seen
    assert fault.fix == "`pip uninstall -y onnxruntime onnxruntime-gpu && pip install --no-deps onnxruntime-gpu==1.26.0`"


def test_a_library_that_nobody_brings_is_named_with_its_wheel(tmp_path: Path) -> None:
    lacking = Environment(tmp_path).onnxruntime().genai().torch().wheels(set(CUDA12) - {"libcudnn.so.9", "libcublasLt.so.12"})
    (fault,) = faults_of(stack_of(lacking), "pip")
    assert "has libcublasLt.so.12, libcudnn.so.9:" in fault.seen
    assert fault.fix == "`pip install 'nvidia-cublas-cu12==12.*' 'nvidia-cudnn-cu12==9.*'`"


def test_what_only_a_needed_library_needs_is_missed_too(tmp_path: Path) -> None:
    lacking = Environment(tmp_path).torch(needed=["libcublas.so.12"]).wheels(["libcublas.so.12"])
    assert stack_of(lacking).missing == {"torch": ("libcublasLt.so.12",)}


def test_the_systems_own_libraries_count(tmp_path: Path) -> None:
    for soname in CUDA12:
        write_library(tmp_path / "system" / soname, soname=soname)
    found = system_libraries({"LD_LIBRARY_PATH": f"/missing:{tmp_path / 'system'}"})
    environment = Environment(tmp_path / "site").onnxruntime()
    assert look([environment.folder], found).missing == {} and look([environment.folder]).missing


def test_a_runpath_counts(tmp_path: Path) -> None:
    environment = Environment(tmp_path).install("torch", "2.10.0")
    write_library(tmp_path / "torch" / "lib" / "libtorch_cuda.so", ["libcudart.so.12"], runpath="$ORIGIN/../../mine")
    assert stack_of(environment).missing
    write_library(tmp_path / "mine" / "libcudart.so.12")
    assert not stack_of(environment).missing


def test_a_torch_for_the_cpu_beside_onnxruntime_for_cuda_is_a_fault(tmp_path: Path) -> None:
    half = Environment(tmp_path).onnxruntime().genai().wheels().install("torch", "2.13.0+cpu")
    (fault,) = faults_of(stack_of(half), "pip")
    assert "torch 2.13.0+cpu is a build for the CPU" in fault.seen and "land on the CPU" in fault.seen
    assert fault.fix == "`pip uninstall -y torch && pip install torch==2.10.0`"


def test_a_genai_for_the_cpu_beside_onnxruntime_for_cuda_is_a_fault(tmp_path: Path) -> None:
    half = Environment(tmp_path).onnxruntime().torch().wheels().install("onnxruntime-genai", "0.14.1")
    (fault,) = faults_of(stack_of(half), "pip")
    assert fault.fix == "`pip uninstall -y onnxruntime-genai && pip install onnxruntime-genai-cuda==0.14.1`"


def test_a_general_torch_beside_onnxruntime_for_the_cpu_is_the_cpu_flavour(tmp_path: Path) -> None:
    general = Environment(tmp_path).torch().wheels().install("onnxruntime", "1.32.0").install("onnxruntime-genai", "0.14.1")
    assert stack_of(general).flavour == "cpu" and not faults_of(stack_of(general), "pip")


@pytest.mark.parametrize(
    ("soname", "cuda", "wheel"),
    [
        ("libcudart.so.13", 13, "'nvidia-cuda-runtime==13.*'"),
        ("libcufft.so.12", 13, "'nvidia-cufft==12.*'"),
        ("libcudnn.so.9", 13, "'nvidia-cudnn-cu13==9.*'"),
        ("libcusparseLt.so.0", 12, "nvidia-cusparselt-cu12"),
        ("libz.so.1", 12, ""),
    ],
)
def test_the_wheel_of_a_library_is_named_as_pip_takes_it(soname: str, cuda: int, wheel: str) -> None:
    assert wheel_of(soname, cuda) == wheel


# -- the driver -------------------------------------------------------------------------------------------------------

CLASSIC = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version:  gcc 12.2.0\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@host)\n"


@pytest.mark.parametrize(
    ("said", "release", "flavours"), [(CLASSIC, "535.129.03", ("cuda12",)), (OPEN, "580.65.06", ("cuda13", "cuda12")), ("", "", ())]
)
def test_without_nvidia_smi_the_kernel_tells_the_driver(tmp_path: Path, said: str, release: str, flavours: tuple[str, ...]) -> None:
    (tmp_path / "version").write_text(said)
    assert kernel_release(tmp_path / "version") == release
    driver = driver_here(Places(str(tmp_path), tmp_path / "version", "libcuda-of-nobody.so"))
    assert (driver.flavours if driver else ()) == flavours


@pytest.mark.parametrize(
    "said",
    [
        "| NVIDIA-SMI 580.159.04   Driver Version: 580.159.04   CUDA Version: 13.0 |",
        "| NVIDIA-SMI 610.12   KMD Version: 580.159.04   CUDA UMD Version: 13.0 |",
    ],
)
def test_nvidia_smi_tells_the_driver_in_its_old_and_its_new_words(tmp_path: Path, said: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{said}'\n")
    tool.chmod(0o755)
    assert driver_here(Places(str(tmp_path))) == NEW


LIBCUDA = """
int cuDriverGetVersion(int *version) {{ *version = 12040; return 0; }}
int cuInit(unsigned flags) {{ return {code}; }}
int cuDeviceGetCount(int *count) {{ *count = {gpus}; return 0; }}
int cuGetErrorString(int code, const char **text) {{ *text = "no CUDA-capable device is detected"; return 0; }}
"""


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs a compiler")
@pytest.mark.parametrize(
    ("code", "gpus", "seen"),
    [
        (0, 2, Sight("12.4", 2)),
        (0, 0, Sight("12.4", 0, "it knows no GPU")),
        (100, 0, Sight("12.4", 0, "no CUDA-capable device is detected (100)")),
    ],
)
def test_the_drivers_library_tells_the_gpus(tmp_path: Path, code: int, gpus: int, seen: Sight) -> None:
    (tmp_path / "cuda.c").write_text(LIBCUDA.format(code=code, gpus=gpus))
    library = tmp_path / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "cuda.c"], check=True)
    assert sight(Places(library=str(library))) == seen


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs a compiler")
def test_a_drivers_library_that_kills_its_process_is_told(tmp_path: Path) -> None:
    (tmp_path / "cuda.c").write_text(LIBCUDA.format(code="*(volatile int *)0", gpus=0))
    library = tmp_path / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "cuda.c"], check=True)
    seen = sight(Places(library=str(library)))
    assert seen.gpus == 0 and "asking it failed" in seen.error


# -- the verdict ------------------------------------------------------------------------------------------------------


def test_a_new_driver_runs_cuda12_and_is_better_served_by_cuda13(tmp_path: Path) -> None:
    verdict = judge(stack_of(Environment.for_cuda12(tmp_path)), NEW, ONE_GPU, "pip")
    assert verdict.level == "ok" and "a consistent CUDA 12 set" in verdict.seen and "cuda13 is better served" in verdict.seen


def test_a_driver_too_old_for_what_is_installed_is_a_problem(tmp_path: Path) -> None:
    newest = Environment(tmp_path).onnxruntime("1.31.1", CUDA13).genai("0.18.0", CUDA13[:4]).wheels(CUDA13[:4])
    verdict = judge(stack_of(newest), OLD, Sight("12.4", 1), "pip")
    assert verdict.level == "problem" and "driver 550.54.14 runs CUDA 12.4: CUDA would not start" in verdict.seen
    assert verdict.fix == "Install a driver of release 580 or newer, or take the cuda12 flavour, `make build-env FLAVOUR=cuda12`."


def test_a_general_torch_too_new_for_the_driver_is_a_warning(tmp_path: Path) -> None:
    general = Environment(tmp_path).torch("2.13.0", ["libcudart.so.13"]).wheels(["libcudart.so.13"]).install("onnxruntime", "1.32.0")
    assert "PyTorch and ONNX Runtime would compute on the CPU" in judge(stack_of(general), OLD, Sight("12.4", 1), "pip").seen
    assert "but ONNX Runtime would compute on the CPU" in judge(stack_of(general), NEW, ONE_GPU, "pip").seen


def test_a_container_without_a_driver_says_precisely_that(tmp_path: Path) -> None:
    verdict = judge(stack_of(Environment.for_cuda12(tmp_path)), None, None, is_container=True)
    assert verdict.level == "problem"
    assert "a consistent CUDA 12 set" in verdict.seen and "no NVIDIA driver is visible in this container" in verdict.seen
    assert "--gpus all" in verdict.fix and "nvidia-container-toolkit" in verdict.fix and "cpu flavour" in verdict.fix


def test_a_container_that_was_not_given_the_gpu_of_its_host_says_so(tmp_path: Path) -> None:
    verdict = judge(stack_of(Environment.for_cuda12(tmp_path)), Driver("580.65.06", ""), None, is_container=True)
    assert "was not given the GPU: the host has NVIDIA driver 580.65.06" in verdict.seen and "--gpus all" in verdict.fix


def test_a_gpu_taken_from_a_running_container_is_told_with_the_trap(tmp_path: Path) -> None:
    blind = Sight("13.0", 0, "no CUDA-capable device is detected (100)")
    verdict = judge(stack_of(Environment.for_cuda12(tmp_path)), NEW, blind, is_container=True)
    assert verdict.level == "problem" and "no CUDA-capable device" in verdict.seen and "systemd is reloaded" in verdict.fix


def test_an_environment_for_cuda_without_a_driver_is_a_problem(tmp_path: Path) -> None:
    verdict = judge(stack_of(Environment.for_cuda12(tmp_path)), None, None, "pip")
    assert verdict.level == "problem" and "no NVIDIA driver here" in verdict.seen


def test_a_gpu_that_the_cpu_flavour_leaves_idle_is_a_warning(tmp_path: Path) -> None:
    plain = Environment(tmp_path).install("onnxruntime", "1.32.0").install("torch", "2.13.0+cpu")
    verdict = judge(stack_of(plain), OLD, Sight("12.4", 1), "pip")
    assert verdict.level == "warning" and "PyTorch and ONNX Runtime would compute on the CPU" in verdict.seen and "cuda12" in verdict.fix
    assert judge(stack_of(plain), None, None, "pip").level == "ok"


def test_an_image_is_put_right_by_building_it_anew(tmp_path: Path) -> None:
    verdict = judge(stack_of(Environment(tmp_path).onnxruntime()), NEW, ONE_GPU)
    assert verdict.level == "problem" and "lock file" in verdict.fix and "pip" not in verdict.fix
