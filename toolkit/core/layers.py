"""Deterministic image layers and the configuration of an image made of them.

A model never goes through `docker build`: its layer is a tar with sorted names, one owner and one time, so the same
content has the same digest on any machine and day. Sizes are known beforehand, digests once written.

Layers are never compressed. Weights do not compress; a compressor's output depends on its version, which would end "the same
digest on any machine"; and a layer's digest is then also its diff id, so that layout, engine and registry name it alike.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from toolkit.core.big_file import Piece, WholeFile, in_chunks
from toolkit.core.engine import LABEL, Image

EPOCH = 1577836800
"""Time of everything in our layers: 2020-01-01T00:00:00Z."""
CREATED = "2020-01-01T00:00:00Z"
BLOCK = 512
LAYER_NAMES = f"{LABEL}.layers"
"""Label of a runtime image: its layers' names, base first, with commas between."""
MADE_BY_US = "edge package: "
RUNTIME = "runtime"
"""What the history says of layers below ours; a name may follow, as in `runtime: python`."""
KEPT_KEYS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck", "Shell",
)  # fmt: skip
"""Of a base's configuration; engines of other versions tell more or less beside them."""


@dataclass(frozen=True)
class LayerFile:
    """A file of a layer: where it lies here (or its bytes), and its absolute path in the image."""

    source: Path | bytes
    path: str

    @property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass(frozen=True)
class Layer:
    """A named layer: its files, sorted."""

    name: str
    files: tuple[LayerFile, ...]

    @property
    def size(self) -> int:
        """Bytes of its tar."""
        entries = sum(len(_header(info)) + padded(info.size) for info in map(_info, self.entries()))
        return entries + 2 * BLOCK

    def entries(self) -> list[LayerFile | str]:
        """Folders (as text) and files in the order of the tar."""
        folders = {str(parent) for file in self.files for parent in PurePosixPath(file.path).parents if str(parent) != "/"}
        keyed = [(folder, folder) for folder in folders] + [(file.path, file) for file in self.files]
        return [entry for _, entry in sorted(keyed, key=lambda pair: pair[0])]


def folder_layer(name: str, folder: Path, target: str) -> Layer:
    """A layer with everything in `folder` under `target`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return Layer(name, tuple(LayerFile(path, f"{target}/{path.relative_to(folder).as_posix()}") for path in paths))


def layer_tar(layer: Layer) -> Iterator[Piece]:
    """The layer's tar, in pieces."""
    for entry in layer.entries():
        info = _info(entry)
        yield _header(info)
        if isinstance(entry, LayerFile) and info.size:
            yield entry.source if isinstance(entry.source, bytes) else WholeFile(entry.source, info.size)
            yield b"\0" * (padded(info.size) - info.size)
    yield b"\0" * (2 * BLOCK)


def _info(entry: LayerFile | str) -> tarfile.TarInfo:
    path = entry if isinstance(entry, str) else entry.path
    info = tarfile.TarInfo(path.strip("/"))
    info.type = tarfile.DIRTYPE if isinstance(entry, str) else tarfile.REGTYPE
    info.mode = 0o755 if isinstance(entry, str) else 0o644
    info.size = 0 if isinstance(entry, str) else entry.size
    info.mtime = EPOCH
    return info


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT)


def member_header(name: str, size: int) -> bytes:
    """What stands before a plain file in a tar of ours."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, EPOCH, 0o644
    return _header(info)


def padded(size: int) -> int:
    """Bytes that a file of this size takes in a tar."""
    return -(-size // BLOCK) * BLOCK


def diff_id(layer: Layer) -> str:
    """`sha256:...` of the layer's tar, read and not written.

    Raises:
        EngineError: a file changed its size meanwhile.
    """
    digest = hashlib.sha256()
    for chunk in in_chunks(layer_tar(layer)):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def base_names(base: Image) -> list[str]:
    """What the layers below ours are called, base first."""
    names = [name.strip() for name in base.labels.get(LAYER_NAMES, "").split(",") if name.strip()]
    return [f"{RUNTIME}: {name}" for name in names] if len(names) == len(base.layers) else [RUNTIME] * len(base.layers)


def layer_name(made_by: str) -> str:
    """A layer's name by what the image's history says of it."""
    return made_by.removeprefix(MADE_BY_US).removeprefix(f"{RUNTIME}: ")


def image_config(base: Image, own: Sequence[tuple[str, str]], labels: Mapping[str, str]) -> bytes:
    """The configuration of `base` with layers of ours on top, (name, diff id) each; no clock in it, nor what only some engines tell.

    Its sha256 is the image's id in Docker's engine.
    """
    told = {key: base.config["Config"][key] for key in KEPT_KEYS if base.config["Config"].get(key)}
    history = [*base_names(base), *(f"{MADE_BY_US}{name}" for name, _ in own)]
    config = {
        "architecture": base.config["Architecture"],
        "os": base.config["Os"],
        "created": CREATED,
        "config": {**told, "Labels": {**base.labels, **labels}},
        "rootfs": {"type": "layers", "diff_ids": [*base.layers, *(digest for _, digest in own)]},
        "history": [{"created": CREATED, "created_by": made_by} for made_by in history],
    }
    return json.dumps(config, sort_keys=True).encode()
