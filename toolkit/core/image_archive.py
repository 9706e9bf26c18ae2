"""An image as one stream: a tar that is Docker's archive and an OCI layout at once, over the same blobs, whole or without known layers.

Docker's engines read `manifest.json`, containerd and Podman `index.json`. A delta leaves out the layers that the device has. Docker's
engine then finds those by their diff ids; where it lacks one, its error names the file it misses, and that name says what to do.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.big_file import Piece, WholeFile
from toolkit.core.engine import LABEL
from toolkit.core.layers import BLOCK, member_header, padded
from toolkit.core.oci_layout import BLOBS, MARKER, Layout
from toolkit.errors import PublishError

SINCE = f"{LABEL}.delta.since"
MISSING = f"{LABEL}.delta.missing"
"""Annotations of a delta's index: the image it builds on, and the layers it leaves out."""


@dataclass(frozen=True)
class Archive:
    """What a stream will hold."""

    members: tuple[tuple[str, Piece], ...]
    """Name and content, in order."""

    @property
    def bytes(self) -> int:
        return sum(len(member_header(name, _size(piece))) + padded(_size(piece)) for name, piece in self.members) + 2 * BLOCK

    def pieces(self) -> Iterator[Piece]:
        for name, piece in self.members:
            size = _size(piece)
            yield member_header(name, size)
            yield piece
            yield b"\0" * (padded(size) - size)
        yield b"\0" * (2 * BLOCK)


def _size(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.size


def archive_of(layout: Layout, without: Collection[str] = (), since: str = "") -> Archive:
    """The layout as an archive, but for the layers `without` that whoever takes it has, by the image `since`."""
    index = json.loads((layout.folder / "index.json").read_text("utf-8"))
    left_out = [layer.digest for layer in layout.layers if layer.digest in without]
    if since:
        index["annotations"] = {SINCE: since, MISSING: ",".join(left_out)}
    listed = {
        "Config": _place(layout.config),
        "RepoTags": [layout.tag],
        "Layers": [_needed(digest, since) if since and digest in without else _place(digest) for digest in layout.diff_ids],
    }
    small = [("oci-layout", MARKER.encode()), ("index.json", _json(index)), ("manifest.json", _json([listed]))]
    digests = dict.fromkeys([layout.config, layout.manifest, *(d for d in layout.diff_ids if d not in without)])
    blobs = [(_place(digest), WholeFile(path := layout.blob(digest), path.stat().st_size)) for digest in digests]
    return Archive((*small, *blobs))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _place(digest: str) -> str:
    return f"{BLOBS}/{digest.removeprefix('sha256:')}"


def _needed(digest: str, since: str) -> str:
    """A file that is not in the archive, by a name that an engine's error repeats."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", since)
    return f"this-is-a-delta_load-{plain}-first/{digest.removeprefix('sha256:')[:12]}"


@dataclass(frozen=True)
class Held:
    """An image by what a device that has it holds."""

    name: str
    identity: str
    layers: tuple[str, ...]
    """Diff ids, base first."""


def read_file(file: Path) -> Held:
    """The image in an archive file, ours or any other that Docker saves; of a delta, the image that it makes.

    Raises:
        PublishError: it is none.
    """
    try:
        with tarfile.open(file) as archive:
            told = json.loads(_read(archive, "manifest.json"))[0]
            config = json.loads(_read(archive, told["Config"]))
        digest = Path(told["Config"]).name.removesuffix(".json")
        return Held((told.get("RepoTags") or [digest])[0], f"sha256:{digest}", tuple(config["rootfs"]["diff_ids"]))
    except (OSError, tarfile.TarError, ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise PublishError(f"{file} is no image archive: {exc}.", "Name a file that `edge export` wrote, an image, or a run.") from exc


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise KeyError(name)
    return member.read()
