"""A server that was made for a GPU, on machines whose driver, GPU or libraries are not as they should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import RUNTIME, Served, until

sys.path.insert(0, str(RUNTIME))

import gpu_driver
import gpu_gate
from gpu_driver import Driver, Gpu
from gpu_gate import CudaSet, GpuError

H200 = Gpu("NVIDIA H200", (9, 0))
CUDA12 = CudaSet(12, 525, compiled=((6, 0), (8, 0), (9, 0)), newer=True)
CUDA13 = CudaSet(13, 580, compiled=((7, 5), (8, 0), (9, 0), (12, 0)), newer=False)
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler to make a stand-in for the driver with")

Start = Callable[..., Served]


def library(path: Path, source: str = "", *flags: str) -> Path:
    """A shared library, compiled from C."""
    path.parent.mkdir(parents=True, exist_ok=True)
    argv = [str(COMPILER), "-shared", "-fPIC", "-w", "-o", str(path), f"-Wl,-soname,{path.name}", *flags, "-x", "c", "-"]
    subprocess.run(argv, input=source.encode(), check=True)
    return path


def driver(folder: Path, *flags: str) -> Path:
    return library(folder / gpu_driver.LIBRARY, (Path(__file__).parent / "fake_driver.c").read_text(), *flags)


def listed(folder: Path, *libraries: str) -> Path:
    """The list of an image, beside its libraries."""
    kernels = {"compiled": ["9.0", "12.0"], "newer": False}
    path = folder / "set.json"
    path.write_text(json.dumps({"cuda": 13, "driver": 580, "libraries": libraries, "stubs": [], "kernels": kernels}))
    return path


# -- what the driver says ---------------------------------------------------------------------------------------------


@needs_compiler
def test_the_driver_is_asked_for_its_cuda_and_its_first_gpu(tmp_path: Path) -> None:
    assert gpu_driver.ask(str(driver(tmp_path, "-DCUDA=12040", "-DMAJOR=8", "-DMINOR=6"))) == Driver((12, 4), Gpu("NVIDIA Test", (8, 6)))


@needs_compiler
def test_a_driver_that_refuses_is_quoted(tmp_path: Path) -> None:
    assert gpu_driver.ask(str(driver(tmp_path, "-DINIT=100"))) == Driver((13, 0), error="no CUDA-capable device is detected (100)")


@needs_compiler
def test_a_driver_may_know_no_gpu(tmp_path: Path) -> None:
    assert gpu_driver.ask(str(driver(tmp_path, "-DGPUS=0"))) == Driver((13, 0), error="it knows no GPU")


@needs_compiler
def test_what_only_has_the_drivers_name_gives_no_gpu(tmp_path: Path) -> None:
    found = gpu_driver.ask(str(library(tmp_path / gpu_driver.LIBRARY)))
    assert found is not None and found.gpu is None and "cuDriverGetVersion" in found.error


def test_there_may_be_no_driver() -> None:
    assert gpu_driver.ask("libnot-there.so.1") is None


def test_the_release_of_the_hosts_driver_is_seen_without_its_library(tmp_path: Path) -> None:
    kernel = tmp_path / "version"
    kernel.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\nGCC version: 12\n")
    assert gpu_driver.release(kernel) == "550.90.07"
    assert gpu_driver.release(tmp_path / "none") == ""


# -- what follows from it ---------------------------------------------------------------------------------------------


def test_a_driver_and_a_gpu_that_fit_are_no_fault() -> None:
    assert gpu_gate.fault_of(Driver((13, 0), H200), CUDA13, "580.65") == ""
    assert gpu_gate.fault_of(Driver((13, 0), H200), CUDA12, "580.65") == ""


def test_a_container_without_the_hosts_gpu_is_told_how_to_start() -> None:
    fault = gpu_gate.fault_of(None, CUDA12, "580.65")
    assert "the host has NVIDIA driver 580.65, but libcuda.so.1 is not here" in fault and "--gpus all" in fault


def test_a_machine_without_a_driver_is_told_so() -> None:
    assert "there is no NVIDIA driver here" in gpu_gate.fault_of(None, CUDA12, "")


def test_a_driver_that_is_too_old_is_told_with_the_release_that_would_do() -> None:
    fault = gpu_gate.fault_of(Driver((12, 4), H200), CUDA13, "550.90")
    assert fault.startswith("The NVIDIA driver 550.90 runs CUDA 12.4 at most, and this image is for CUDA 13.")
    assert "release 580 or newer" in fault and "cuda12" in fault


def test_a_driver_older_than_any_image_is_sent_to_none() -> None:
    fault = gpu_gate.fault_of(Driver((11, 8), H200), CUDA12, "")
    assert "release 525 or newer" in fault and "Or package" not in fault


def test_a_driver_that_gives_no_gpu_is_quoted() -> None:
    assert "no CUDA-capable device is detected (100)" in gpu_gate.fault_of(
        Driver((13, 0), error="no CUDA-capable device is detected (100)"), CUDA13, ""
    )


@pytest.mark.parametrize("capability", [(7, 0), (10, 0)])
def test_a_gpu_that_there_is_no_code_for_is_refused(capability: tuple[int, int]) -> None:
    fault = gpu_gate.fault_of(Driver((13, 0), Gpu("NVIDIA Other", capability)), CUDA13, "580")
    assert f"NVIDIA Other has compute capability {capability[0]}.{capability[1]}" in fault and "for a device with cuda12" in fault


@pytest.mark.parametrize("capability", [(8, 9), (10, 0), (12, 1)])
def test_code_of_the_same_generation_or_compiled_by_the_driver_does(capability: tuple[int, int]) -> None:
    assert gpu_gate.fault_of(Driver((13, 0), Gpu("NVIDIA Other", capability)), CUDA12, "580") == ""


# -- the libraries ----------------------------------------------------------------------------------------------------


@needs_compiler
def test_the_libraries_of_the_list_are_opened_from_beside_it(tmp_path: Path) -> None:
    ours = library(tmp_path / "libedgetest_ours.so.1")
    libraries = gpu_gate.cuda_set(listed(tmp_path, ours.name))
    gpu_gate.open_libraries(libraries)
    assert libraries.libraries == (ours,) and libraries.cuda == 13
    assert ours.resolve() in gpu_gate.mapped_files()


@needs_compiler
def test_a_library_that_lacks_another_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    needed = library(tmp_path / "away" / "libedgetest_gone.so.1")
    broken = library(tmp_path / "libedgetest_broken.so.1", "", "-Wl,--no-as-needed", str(needed))
    needed.unlink()
    with pytest.raises(GpuError, match=r"libedgetest_broken.so.1 does not load: .*libedgetest_gone.so.1"):
        gpu_gate.open_libraries(gpu_gate.cuda_set(listed(tmp_path, broken.name)))


@needs_compiler
def test_another_library_of_the_same_name_on_the_search_path_does_not_win(tmp_path: Path) -> None:
    library(tmp_path / "foreign" / "libedgetest_base.so.1")
    base = library(tmp_path / "libedgetest_base.so.1")
    user = library(tmp_path / "libedgetest_user.so.1", "", "-Wl,--no-as-needed", str(base))
    code = f"import sys; sys.path.insert(0, {str(RUNTIME)!r}); import gpu_gate; from pathlib import Path; "
    code += f"gpu_gate.open_libraries(gpu_gate.cuda_set(Path({str(listed(tmp_path, base.name, user.name))!r}))); "
    code += "print(*[path for path in gpu_gate.mapped_files() if 'edgetest' in path.name])"
    done = subprocess.run([sys.executable, "-c", code], env={"LD_LIBRARY_PATH": str(tmp_path / "foreign")}, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == sorted(map(str, (base.resolve(), user.resolve()))), done.stderr


@needs_compiler
def test_another_library_of_the_same_name_that_was_there_first_is_refused(tmp_path: Path) -> None:
    foreign = library(tmp_path / "foreign" / "libedgetest_twin.so.1")
    library(tmp_path / "libedgetest_twin.so.1")
    code = f"import ctypes, sys; ctypes.CDLL({str(foreign)!r}); sys.path.insert(0, {str(RUNTIME)!r}); import gpu_gate; from pathlib import Path; "
    code += f"gpu_gate.open_libraries(gpu_gate.cuda_set(Path({str(listed(tmp_path, foreign.name))!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"{foreign.resolve()} was loaded in the place of" in done.stderr


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text("{}")
    with pytest.raises(GpuError, match="Build the runtime image anew"):
        gpu_gate.cuda_set(path)


def test_outside_of_an_image_nothing_is_known_of_the_libraries(tmp_path: Path) -> None:
    assert gpu_gate.cuda_set(tmp_path / "set.json").cuda == 0


# -- the server -------------------------------------------------------------------------------------------------------


@needs_compiler
def test_a_server_for_the_gpu_without_one_ends_with_a_code_of_its_own_and_says_why(start: Start, tmp_path: Path) -> None:
    served = start("--device", "cuda", LD_LIBRARY_PATH=str(driver(tmp_path / "lib", "-DINIT=100").parent))
    assert served.process.wait(timeout=20) == gpu_gate.EXIT_CODE
    assert "no CUDA-capable device is detected (100)" in served.log and "EDGE_ALLOW_CPU=1" in served.log


@needs_compiler
def test_who_allows_the_cpu_is_served_on_it_and_told(start: Start, tmp_path: Path) -> None:
    served = start("--device", "cuda", EDGE_ALLOW_CPU="1", LD_LIBRARY_PATH=str(driver(tmp_path / "lib", "-DINIT=100").parent))
    until(served.is_ready)
    assert "Serving on the CPU" in served.log
    assert served.client().get("/ready").json()["provider"] == "cpu"


@needs_compiler
def test_a_model_for_the_gpu_that_the_cpu_cannot_load_is_told_as_such(start: Start, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "genai_config.json").write_text('{"model": {"context_length": 200, "eos_token_id": 0}}')
    library = driver(tmp_path / "lib", "-DINIT=100").parent
    served = start("--device", "cuda", "--model", str(tmp_path / "model"), EDGE_ALLOW_CPU="1", LD_LIBRARY_PATH=str(library))
    assert served.process.wait(timeout=20) == 1
    assert "It was exported for a GPU" in served.log


def test_a_server_for_the_cpu_asks_for_no_driver(served: Served) -> None:
    assert "GPU" not in served.log


def test_a_model_that_landed_on_the_cpu_is_no_success() -> None:
    with pytest.raises(GpuError, match="put it on cpu"):
        gpu_gate.confirm("cuda", "cpu")
    gpu_gate.confirm("cuda", "cuda")
    gpu_gate.confirm("cpu", "cpu")
