"""The GPU's share of a runtime image: which files it is, and what stands in for those that are left out."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import RUNTIME
from toolkit.core.cuda_driver import NEEDED_RELEASE
from toolkit.core.cuda_stack import PAIRS

sys.path.insert(0, str(RUNTIME))
sys.path.insert(0, str(RUNTIME / "assembly"))

import cuda_set
import cuda_stubs
import gpu_gate
from cuda_stubs import Stub, StubError

COMPILER = shutil.which("cc") or shutil.which("gcc")
FLAVOURS = ["cuda12", "cuda13"]

pytestmark = pytest.mark.skipif(COMPILER is None or shutil.which("ld") is None, reason="no compiler and linker here")

PIN = re.compile(r"^([a-z0-9-]+)==([0-9.]+)", re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text()))


def compiled(path: Path, source: str, *flags: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    argv = [str(COMPILER), "-shared", "-fPIC", "-w", "-o", str(path), f"-Wl,-soname,{path.name}", "-x", "c", "-", "-x", "none", *flags]
    subprocess.run(argv, input=source.encode(), check=True)
    return path


def user_of(folder: Path, soname: str, *functions: str) -> Path:
    """A library linked to these functions of another, by their version, as ONNX Runtime is to NVIDIA's."""
    folder.mkdir(parents=True)
    versions = folder / "versions"
    versions.write_text(f"{soname} {{ {'global: *;' if functions else ''} }};\n")
    bodies = "".join(f"int {name}(int x) {{ return x; }}\n" for name in functions)
    original = compiled(folder / soname, bodies or "static int none;", f"-Wl,--version-script={versions}")
    calls = "".join(f"int {name}(int); int call_{name}(void) {{ return {name}(0); }}\n" for name in functions)
    return compiled(folder / "libedgetest_user.so", calls or "int none;", "-Wl,--no-as-needed", str(original))


# -- stubs ------------------------------------------------------------------------------------------------------------


def test_a_stub_takes_the_place_of_a_library_and_refuses_what_is_called(tmp_path: Path) -> None:
    user = user_of(tmp_path / "a", "libedgetest_fft.so.7", "fftCreate", "fftExec")
    stub = cuda_stubs.write(Stub("libedgetest_fft.so.7", 16), tmp_path, [user])
    ctypes.CDLL(str(stub), mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    loaded = ctypes.CDLL(str(user), mode=os.RTLD_NOW)  # every symbol, in its version
    assert (loaded.call_fftCreate(), loaded.call_fftExec()) == (16, 16)


def test_a_stub_is_the_same_bytes_each_time_and_needs_no_other_library(tmp_path: Path) -> None:
    user = user_of(tmp_path / "a", "libedgetest_fft.so.8", "fftCreate")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        cuda_stubs.write(Stub("libedgetest_fft.so.8", 16), tmp_path / name, [user])
    first, second = ((tmp_path / name / "libedgetest_fft.so.8").read_bytes() for name in ("one", "two"))
    assert first == second and len(first) < 20_000 and b"libc.so" not in first


def test_what_is_called_by_nobody_gets_an_empty_stub(tmp_path: Path) -> None:
    user = user_of(tmp_path / "a", "libedgetest_rand.so.1")
    ctypes.CDLL(str(cuda_stubs.write(Stub("libedgetest_rand.so.1"), tmp_path, [user])), mode=os.RTLD_NOW)


def test_a_library_that_is_called_after_all_is_not_left_out(tmp_path: Path) -> None:
    user = user_of(tmp_path / "a", "libedgetest_rand.so.2", "randMake")
    with pytest.raises(StubError, match="libedgetest_rand.so.2 was taken for unused, and these are called: randMake"):
        cuda_stubs.write(Stub("libedgetest_rand.so.2"), tmp_path, [user])


# -- the sets ---------------------------------------------------------------------------------------------------------


class Shelf:
    """Wheels that have whatever is asked for; what was taken is noted."""

    def __init__(self, user: Path) -> None:
        self.user, self.taken, self.stripped = user, {}, []

    def take(self, project: str, patterns: tuple[str, ...], folder: Path, flat: bool = False) -> list[Path]:
        self.taken.setdefault(project, []).extend(patterns)
        made = [folder / (pattern.rpartition("/")[2] if flat else pattern) for pattern in patterns]
        for path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.user, path)
        return made

    def strip(self, path: Path) -> None:
        self.stripped.append(path.name)


class Origins:
    def __init__(self) -> None:
        self.made: list[str] = []

    def made_here(self, path: Path, what: str) -> None:
        self.made.append(path.name)


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_set_is_laid_out_whole_with_its_licences_and_read_back_by_the_servers_gate(flavour: str, tmp_path: Path) -> None:
    shelf, origins, libraries = Shelf(user_of(tmp_path / "a", "libedgetest_x.so.1")), Origins(), tmp_path / "cuda"
    cuda_set.lay_out(flavour, shelf, tmp_path / "packages", libraries, origins)
    found = gpu_gate.cuda_set(libraries / "set.json")
    assert found.cuda == int(flavour[-2:]) and found.compiled and all(path.is_file() for path in found.libraries)
    assert {path.name for path in libraries.glob("lib*")} == {path.name for path in found.libraries}
    assert all("*.dist-info/*icense.txt" in shelf.taken[project] for project in cuda_set.SETS[flavour].libraries)
    assert shelf.stripped == ["libonnxruntime-genai-cuda.so"]
    assert set(origins.made) == {*(stub.soname for stub in cuda_set.SETS[flavour].stubs), "set.json"}


def test_a_set_needs_the_driver_that_the_toolkit_asks_for(flavour: str) -> None:
    chosen = cuda_set.SETS[flavour]
    assert chosen.driver == NEEDED_RELEASE[chosen.cuda]


def test_every_wheel_that_a_set_takes_from_is_in_its_lock(flavour: str) -> None:
    assert set(cuda_set.SETS[flavour].libraries) <= set(pins(RUNTIME / f"{flavour}.lock"))


def test_the_lock_has_what_was_asked_for_and_the_pair_that_runs_together(flavour: str) -> None:
    asked, locked = pins(RUNTIME / f"{flavour}.in"), pins(RUNTIME / f"{flavour}.lock")
    assert asked and asked.items() <= locked.items()
    assert {f"{name}=={version}" for name, version in locked.items()} >= set(PAIRS[int(flavour[-2:])])


def test_a_model_runs_on_the_libraries_that_it_was_exported_on(flavour: str) -> None:
    ours, builds = pins(RUNTIME / f"{flavour}.lock"), pins(RUNTIME.parent / "build" / f"{flavour}.lock")
    nvidias = {name for name in ours if fnmatch(name, "nvidia-*")}
    assert nvidias and {name: ours[name] for name in nvidias} == {name: builds[name] for name in nvidias}


def test_the_server_is_of_one_release_on_every_device(flavour: str) -> None:
    cpu, ours = pins(RUNTIME / "cpu.lock"), pins(RUNTIME / f"{flavour}.lock")
    assert all(ours[name] == cpu[name] for name in ("starlette", "uvicorn", "anyio", "h11"))
