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


def resolve(shelf: Path, lock: Path, folder: Path, machine: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf)}
    command = [sys.executable, CONTAINERS / "resolve_wheels.py", lock, folder, "--machine", machine]
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


@pytest.mark.parametrize("image", ["runtime", "build"])
def test_locks_pin_what_was_asked_and_hash_everything(image: str) -> None:
    asked = re.findall(r"^([a-z][\w-]*==[\d.]+)", (CONTAINERS / image / "cpu.in").read_text(), re.MULTILINE)
    lock = (CONTAINERS / image / "cpu.lock").read_text()
    blocks = re.findall(r"^([a-z][\w-]*==\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", lock, re.MULTILINE)
    pinned = [pin for pin, _ in blocks]
    assert set(asked) <= set(pinned) and len(asked) >= 4
    assert len(pinned) == len(re.findall(r"^[a-z]", lock, re.MULTILINE))  # no line without its hashes
    assert "://" not in lock
