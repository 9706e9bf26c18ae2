"""An image as one file, for a device without network: saved by a run, so that a dropped connection does not matter."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core.engine import LABEL, Image
from toolkit.core.files import as_size, free_bytes
from toolkit.errors import DiskError, PublishError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

TAR_SHARE = 0.05
"""What headers and padding may add to the bytes of the files."""


def request(image: Image, source: str, file: Path, overwrite: bool) -> dict:
    """What an exporting run is asked.

    Raises:
        PublishError: nothing can be written there, or something is there already.
        DiskError: it does not fit.
    """
    check_file(file, overwrite)
    free = free_bytes(file.parent)
    if free < image.bytes * (1 + TAR_SHARE):
        raise DiskError(
            f"{source} takes {as_size(image.bytes)}; {file.parent} has {as_size(free)} free.", "Choose another disk, or make room there."
        )
    options = {"image": source, "image_id": image.id, "bytes": image.bytes, "file": str(file), "overwrite": overwrite}
    steps = [{"name": "save", "kind": "save", "options": options, "inputs": {}}]
    return {"engine": "docker", "recipe": {"name": image.labels.get(f"{LABEL}.recipe", "image")}, "steps": steps}


def file_for(source: str, wanted: str, folder: Path) -> Path:
    """The file that `wanted` means: relative to `folder`, and with a name of its own where it is a folder."""
    path = folder / Path(wanted).expanduser()
    return path / default_name(source) if path.is_dir() or wanted.endswith("/") else path


def default_name(source: str) -> str:
    """`travel-cpu-0001.tar` for `edge-toolkit/travel-cpu:0001`."""
    return source.rpartition("/")[2].replace(":", "-") + ".tar"


def check_file(file: Path, overwrite: bool) -> None:
    """Raises PublishError where `file` must not or cannot be written."""
    if not file.parent.is_dir():
        raise PublishError(f"There is no folder {file.parent}.", "Make it, or choose another.")
    if not os.access(file.parent, os.W_OK):
        raise PublishError(f"{file.parent} may not be written to.", "Choose another folder.")
    if file.exists() and not overwrite:
        raise PublishError(f"{file} is there already.", "Choose another name, or ask for it to be overwritten.")


def save(job: Job) -> dict[str, float]:
    """Stream the image into FILE.part, and give it its name once it is whole."""
    engine, file = job.bench.image_engine(), Path(job.options["file"])
    check_file(file, job.options["overwrite"])
    named = engine.find(job.options["image"])
    if engine.find(job.options["image_id"]) is None:
        raise PublishError(f"The image {job.options['image']} is not in the engine any more.", "Package the run again, then export.")
    is_same = named is not None and named.id == job.options["image_id"]
    source = job.options["image"] if is_same else job.options["image_id"]  # by its name, which the device then knows it by
    part = file.with_name(f"{file.name}.part")
    try:
        size, sha256 = _written(job, engine.save(source), part)
        check_file(file, job.options["overwrite"])
        os.replace(part, file)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise DiskError(
            f"{part}: {exc.strerror}; {as_size(free_bytes(file.parent))} are free.", "Make room there, then resume the run."
        ) from exc
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    job.left("archive", str(file), size, sha256)
    return {"bytes": size}


def _written(job: Job, pieces, part: Path) -> tuple[int, str]:
    digest, done, expected = hashlib.sha256(), 0, job.options["bytes"]
    with open(part, "wb") as target:
        for piece in pieces:
            target.write(piece)
            digest.update(piece)
            done += len(piece)
            job.progress(done, max(done + 1, expected), "bytes", part.name)
        target.flush()
        os.fsync(target.fileno())
    job.progress(done, done, "bytes", part.name)
    return done, digest.hexdigest()
