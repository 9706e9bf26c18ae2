"""Deterministic image layers, and image archives streamed from folders.

A model never goes through `docker build`: its layer is a tar with sorted names, one owner and one time, so the same
content has the same digest on any machine and day. An archive holds only the layers that the engine lacks; the base is
named by its diff ids. Nothing is written to disk on the way: sizes are known beforehand, digests once streamed.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from toolkit.core.engine import Image
from toolkit.errors import EngineError

EPOCH = 1577836800
"""Time of everything in our layers: 2020-01-01T00:00:00Z."""
CREATED = "2020-01-01T00:00:00Z"
CHUNK = 1 << 20
BLOCK = 512


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
        entries = sum(len(_header(info)) + _padded(info.size) for info in map(_info, self.entries()))
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


def layer_tar(layer: Layer) -> Iterator[bytes]:
    """The layer's tar, in pieces.

    Raises:
        EngineError: a file changed its size while it was read.
    """
    for entry in layer.entries():
        info = _info(entry)
        yield _header(info)
        if isinstance(entry, LayerFile):
            yield from _content(entry, info.size)
    yield b"\0" * (2 * BLOCK)


def _content(file: LayerFile, size: int) -> Iterator[bytes]:
    if isinstance(file.source, bytes):
        yield file.source
    else:
        read = 0
        with open(file.source, "rb", buffering=0) as source:
            while chunk := source.read(CHUNK):
                read += len(chunk)
                yield chunk
        if read != size:
            raise EngineError(
                f"{file.source} changed while it was packed ({size} bytes, then {read}).", "Package again once nothing writes there."
            )
    yield b"\0" * (_padded(size) - size)


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


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def diff_id(layer: Layer) -> str:
    """`sha256:...` of the layer's tar."""
    digest = hashlib.sha256()
    for chunk in layer_tar(layer):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def image_archive(
    base: Image, layers: Sequence[Layer], labels: Mapping[str, str], tag: str, base_archive: Iterable[bytes] | None = None
) -> Iterator[bytes]:
    """An archive for `docker load`: `base` with `layers` on top, under `tag`.

    Without `base_archive` the base's layers are only named, which an engine that has them accepts. With it (the
    stream of `docker save`), the archive is complete and any engine takes it.
    """
    names = [f"base{number}.tar" for number in range(len(base.layers))]
    if base_archive is not None:
        yield from _base_layers(base_archive, names)
    diff_ids = list(base.layers)
    for number, layer in enumerate(layers):
        names.append(f"layer{number}.tar")
        yield _member_header(names[-1], layer.size)
        digest = hashlib.sha256()
        for chunk in layer_tar(layer):
            digest.update(chunk)
            yield chunk
        yield b"\0" * (_padded(layer.size) - layer.size)
        diff_ids.append(f"sha256:{digest.hexdigest()}")
    config = json.dumps(image_config(base, layers, diff_ids, labels), sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [tag], "Layers": names}]).encode()
    for name, content in ((config_name, config), ("manifest.json", manifest)):
        yield _member_header(name, len(content)) + content + b"\0" * (_padded(len(content)) - len(content))
    yield b"\0" * (2 * BLOCK)


def image_config(base: Image, layers: Sequence[Layer], diff_ids: list[str], labels: Mapping[str, str]) -> dict:
    """The image's configuration: the base's, with our labels and history, and no clock in it."""
    config = {**base.config["Config"], "Labels": {**base.labels, **labels}, "Image": ""}
    made = [{"created": CREATED, "created_by": "runtime"}] * len(base.layers)
    made += [{"created": CREATED, "created_by": f"edge package: {layer.name}"} for layer in layers]
    return {
        "architecture": base.config["Architecture"],
        "os": base.config["Os"],
        "created": CREATED,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": made,
    }


def _member_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, EPOCH, 0o644
    return _header(info)


def _base_layers(archive: Iterable[bytes], names: list[str]) -> Iterator[bytes]:
    with tempfile.TemporaryFile() as spool:
        for chunk in archive:
            spool.write(chunk)
        spool.seek(0)
        with tarfile.open(fileobj=spool) as saved:
            source = saved.extractfile("manifest.json")
            assert source
            for name, stored in zip(names, json.load(source)[0]["Layers"], strict=True):
                member = saved.getmember(stored)
                member = saved.getmember(str(PurePosixPath(stored).parent / member.linkname)) if member.issym() else member
                yield _member_header(name, member.size)
                content = saved.extractfile(member)
                assert content
                while chunk := content.read(CHUNK):
                    yield chunk
                yield b"\0" * (_padded(member.size) - member.size)
