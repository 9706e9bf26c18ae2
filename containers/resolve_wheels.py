"""Fill a folder with the wheels of a lock file: `python resolve_wheels.py LOCK FOLDER [--machine aarch64] [--python 3.12]`.

The host's pip does it, with whatever index, mirror or wheel folder it is set up with, so that no image build needs a
network or credentials. Only what the lock's hashes allow is taken. A folder already filled from this lock is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STAMP = ".lock-sha256"
GLIBC = tuple(f"2_{minor}" for minor in range(28, 4, -1))
"""glibc versions of the manylinux wheels taken: up to that of Debian 10, which every base used here has or exceeds."""
PYTHONS = ("3.11", "3.12")
"""Versions that the lock files have wheels for: those of Debian 12 and of Ubuntu 24.04."""
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


class ResolveError(Exception):
    """The wheels could not be had; the message says why."""


def resolve(lock: Path, folder: Path, machine: str, python: str = PYTHONS[0]) -> None:
    """Make `folder` hold exactly the wheels of `lock` for a machine and a Python version.

    Raises:
        ResolveError: pip could not find a wheel, or found one with another hash.
    """
    stamp = _stamp(lock, machine, python)
    if _is_filled(folder, stamp):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.whl"), folder / STAMP):
        old.unlink(missing_ok=True)
    pip = subprocess.run(_pip(lock, folder, MACHINES[machine], python), capture_output=True, text=True)
    if pip.returncode != 0:
        reasons = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
        raise ResolveError(
            f"pip could not fetch the wheels of {lock}: {' '.join(reasons) or pip.stderr.strip()}{_hint(lock, machine, python, pip.stderr)}"
        )
    names = sorted(wheel.name for wheel in folder.glob("*.whl"))
    (folder / STAMP).write_text("\n".join([stamp, *names]) + "\n")


def _pip(lock: Path, folder: Path, machine: str, python: str) -> list[str]:
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in GLIBC] + [f"manylinux2014_{machine}"]
    return [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "--no-deps", "--only-binary", ":all:",
        "--implementation", "cp", "--python-version", python,
        *(word for name in platforms for word in ("--platform", name)),
        "--dest", str(folder), "--requirement", str(lock),
    ]  # fmt: skip


def _hint(lock: Path, machine: str, python: str, complaint: str) -> str:
    if lock.stem.startswith("cuda") and MACHINES[machine] != "x86_64":
        return f" There are no wheels of {lock.stem} for {machine}, only for x86_64."
    if "torch==" in complaint and lock.stem == "cpu":
        return f" Tell pip where torch's CPU builds for Python {python} are, with PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL."
    return ""


def _stamp(lock: Path, machine: str, python: str) -> str:
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {MACHINES[machine]} {python}"


def _is_filled(folder: Path, stamp: str) -> bool:
    try:
        first, *names = (folder / STAMP).read_text().splitlines()
    except (FileNotFoundError, ValueError):
        return False
    return first == stamp and names == sorted(wheel.name for wheel in folder.glob("*.whl"))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Fill a folder with the wheels of a lock file.")
    parser.add_argument("lock", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--machine", choices=sorted(MACHINES), default=platform.machine())
    parser.add_argument("--python", choices=PYTHONS, default="3.11", help="version of the image's Python")
    given = parser.parse_args(argv)
    try:
        resolve(given.lock, given.folder, given.machine, given.python)
    except ResolveError as exc:
        print(f"resolve_wheels: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
