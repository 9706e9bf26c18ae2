"""Wheels for an image come from the host's pip, and only those that the lock file allows."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from toolkit.core.cuda_stack import PAIRS

CONTAINERS = Path(__file__).parents[3] / "containers"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A wheel folder with one pure and two native wheels."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name in ("pure-1-py3-none-any", "native-2-cp311-cp311-manylinux_2_28_x86_64", "native-2-cp311-cp311-manylinux_2_17_aarch64"):
        project, version, tag = name.split("-", 2)
        with zipfile.ZipFile(folder / f"{name}.whl", "w") as wheel:
            info = f"{project}-{version}.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
            wheel.writestr(f"{info}/RECORD", "")
            wheel.writestr(f"{project}.py", f"# {tag}\n")
    return folder


def lock_of(shelf: Path, **wrong: str) -> Path:
    """A lock of everything on the shelf."""
    hashes: dict[str, list[str]] = {}
    for wheel in sorted(shelf.glob("*.whl")):
        project, version, _ = wheel.name.split("-", 2)
        digest = wrong.get(project) or hashlib.sha256(wheel.read_bytes()).hexdigest()
        hashes.setdefault(f"{project}=={version}", []).append(f"--hash=sha256:{digest}")
    lock = shelf.parent / "test.lock"
    lock.write_text("".join(f"{pin} {' '.join(digests)}\n" for pin, digests in hashes.items()))
    return lock


def resolve(shelf: Path, lock: Path, folder: Path, machine: str, python: str = "3.11") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf)}
    command = [sys.executable, CONTAINERS / "resolve_wheels.py", lock, folder, "--machine", machine, "--python", python]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def names(folder: Path) -> list[str]:
    return sorted(wheel.name for wheel in folder.glob("*.whl"))


@pytest.mark.parametrize(("machine", "native"), [("x86_64", "manylinux_2_28_x86_64"), ("arm64", "manylinux_2_17_aarch64")])
def test_takes_the_wheels_of_the_images_machine(shelf: Path, tmp_path: Path, machine: str, native: str) -> None:
    assert resolve(shelf, lock_of(shelf), tmp_path / "wheels", machine).returncode == 0
    assert names(tmp_path / "wheels") == [f"native-2-cp311-cp311-{native}.whl", "pure-1-py3-none-any.whl"]


def test_a_wheel_with_another_hash_is_refused(shelf: Path, tmp_path: Path) -> None:
    refused = resolve(shelf, lock_of(shelf, pure="0" * 64), tmp_path / "wheels", "x86_64")
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_a_filled_folder_is_left_alone_until_the_lock_changes(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    assert resolve(shelf, lock_of(shelf), folder, "x86_64").returncode == 0
    (shelf / "pure-1-py3-none-any.whl").rename(shelf / "pure-1-py3-none-any.gone")
    assert resolve(shelf, tmp_path / "test.lock", folder, "x86_64").returncode == 0  # pip could not find it any more
    assert resolve(shelf, lock_of(shelf), folder, "x86_64").returncode == 0
    assert names(folder) == ["native-2-cp311-cp311-manylinux_2_28_x86_64.whl"]


def test_a_wheel_lost_from_the_folder_is_fetched_again(shelf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    resolve(shelf, lock_of(shelf), folder, "x86_64")
    (folder / "pure-1-py3-none-any.whl").unlink()
    assert resolve(shelf, tmp_path / "test.lock", folder, "x86_64").returncode == 0
    assert len(names(folder)) == 2


LOCKS = [(image, flavour) for image in ("runtime", "build") for flavour in ("cpu", "cuda12", "cuda13")]


def pins_of(image: str, lock: str) -> dict[str, str]:
    """Versions by name, each of which must have hashes."""
    text = (CONTAINERS / image / f"{lock}.lock").read_text()
    blocks = re.findall(r"^([a-z][\w-]*)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", text, re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^[a-z]", text, re.MULTILINE))  # no line without its hashes
    assert "://" not in text
    return {name: version for name, version, _ in blocks}


def asked_of(image: str, lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z][\w-]*)==([\d.]+)", (CONTAINERS / image / f"{lock}.in").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("image", "flavour"), LOCKS)
def test_locks_pin_what_was_asked_and_hash_everything(image: str, flavour: str) -> None:
    asked = asked_of(image, flavour)
    assert asked.items() <= pins_of(image, flavour).items() and len(asked) >= 4


def test_every_runtime_flavour_serves_with_the_same_packages_and_none_of_those_that_only_pythons_part_of_the_library_needs() -> None:
    def served_by(flavour: str) -> dict[str, str]:
        return {name: version for name, version in pins_of("runtime", flavour).items() if not name.startswith(("onnxruntime", "nvidia-"))}

    assert served_by("cpu") == served_by("cuda12") == served_by("cuda13")
    assert not {"numpy", "protobuf", "flatbuffers", "packaging"} & served_by("cpu").keys()


def test_every_build_flavour_trains_and_converts_with_the_same_versions() -> None:
    own = {"torch", "triton", "setuptools", "onnxruntime", "onnxruntime-gpu", "onnxruntime-genai", "onnxruntime-genai-cuda"}

    def common(flavour: str) -> dict[str, str]:
        pins = pins_of("build", flavour)
        return {name: version for name, version in pins.items() if name not in own and not name.startswith(("nvidia-", "cuda-"))}

    assert common("cuda12") == common("cpu") == common("cuda13")


@pytest.mark.parametrize("cuda", [12, 13])
def test_a_lock_for_cuda_has_the_pair_of_its_number_and_no_library_of_another(cuda: int) -> None:
    pins = pins_of("build", f"cuda{cuda}")
    for requirement in PAIRS[cuda]:  # as the doctor knows them
        name, _, version = requirement.partition("==")
        assert pins[name] == version
    assert not {"onnxruntime", "onnxruntime-genai"} & pins.keys()  # they would overwrite the others' files
    others = [name for name in pins if name.endswith(f"-cu{25 - cuda}")]
    unmarked = [name for name in pins if name.startswith("nvidia-") and not name.endswith(f"-cu{cuda}")]
    assert others == [] and (cuda == 13 or unmarked == [])  # CUDA 12's wheels are all marked
    assert pins["cuda-bindings"].startswith(f"{cuda}.")


def test_the_libraries_of_cuda_13_are_of_the_release_that_torch_names() -> None:
    pins = pins_of("build", "cuda13")
    toolkit = pins["cuda-toolkit"].rpartition(".")[0]
    assert toolkit.startswith("13.0")
    told = ("nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-cuda-cupti", "nvidia-nvtx", "nvidia-nvjitlink")
    assert all(pins[name].startswith("13.0.") for name in told)


def test_the_older_model_builder_is_the_one_that_the_export_names() -> None:
    source = (CONTAINERS / "build" / "model_builder.py").read_text()
    assert pins_of("build", "model-builder") == {"onnxruntime-genai": re.search(r'VERSION = "(.+)"', source)[1]}
    assert pins_of("build", "cuda12")["onnxruntime-genai-cuda"] == pins_of("build", "cpu")["onnxruntime-genai"]  # need none apart


def test_wheels_for_another_python_are_taken_where_the_base_has_another(shelf: Path, tmp_path: Path) -> None:
    (shelf / "native-2-cp311-cp311-manylinux_2_28_x86_64.whl").rename(shelf / "native-2-cp312-cp312-manylinux_2_28_x86_64.whl")
    assert resolve(shelf, lock_of(shelf), tmp_path / "wheels", "x86_64", "3.12").returncode == 0
    assert names(tmp_path / "wheels") == ["native-2-cp312-cp312-manylinux_2_28_x86_64.whl", "pure-1-py3-none-any.whl"]


def test_cuda_wheels_for_another_processor_are_refused_with_the_reason(shelf: Path, tmp_path: Path) -> None:
    lock = lock_of(shelf).rename(tmp_path / "cuda12.lock")
    (shelf / "native-2-cp311-cp311-manylinux_2_17_aarch64.whl").unlink()
    refused = resolve(shelf, lock, tmp_path / "wheels", "aarch64")
    assert refused.returncode == 1
    assert "only for x86_64" in refused.stderr
