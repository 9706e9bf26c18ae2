"""Reading what an engine saves: the layers of an image as blobs of a layout, taken from the stream without a second copy."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from toolkit.core.big_file import CHUNK, Tell
from toolkit.core.oci_layout import Blobs
from toolkit.errors import EngineError

SMALL = 4 << 20
"""Members up to this size may be the configuration; they are kept in memory until the list of contents, which comes last, says so."""
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Saved:
    """An image that was taken from an engine: its configuration as it was, and its layers' digests, base first."""

    config: bytes
    layers: tuple[str, ...]


def take_in(stream: Iterable[bytes], blobs: Blobs, tell: Tell = lambda done: None) -> Saved:
    """Write the layers of a saved image as blobs, unpacked where the engine keeps them packed.

    Raises:
        EngineError: the archive is not whole, or its layers are not those that its configuration names.
        DiskError: they do not fit.
    """
    try:
        with tarfile.open(fileobj=_Stream(stream, tell), mode="r|", bufsize=CHUNK) as archive:
            return _taken(archive, blobs)
    except (tarfile.TarError, zlib.error, EOFError, KeyError, ValueError) as exc:
        raise EngineError(f"What the engine saved is no image archive: {exc}.", "`edge doctor` looks at the engine.") from exc


def _taken(archive: tarfile.TarFile, blobs: Blobs) -> Saved:
    small: dict[str, bytes] = {}
    large: dict[str, str] = {}
    links: dict[str, str] = {}
    for member in archive:
        name = str(PurePosixPath(member.name))
        if member.issym() or member.islnk():
            parent = PurePosixPath(name).parent if member.issym() else PurePosixPath()
            links[name] = _plain(parent / member.linkname)
        elif member.isfile() and member.size <= SMALL:
            small[name] = _content(archive, member).read()
        elif member.isfile():
            large[name] = _written(blobs, _content(archive, member), member.size)
    told = json.loads(small["manifest.json"])[0]
    config = small[told["Config"]]
    layers = [_layer(links.get(name, name), small, large, blobs) for name in told["Layers"]]
    wanted = json.loads(config)["rootfs"].get("diff_ids") or []
    if layers != wanted:
        raise ValueError("its layers are not those of its configuration")
    return Saved(config, tuple(layers))


def _plain(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> io.BufferedIOBase:
    content = archive.extractfile(member)
    assert content
    return content


def _layer(name: str, small: dict[str, bytes], large: dict[str, str], blobs: Blobs) -> str:
    return large[name] if name in large else _written(blobs, io.BytesIO(small[name]), len(small[name]))


def _written(blobs: Blobs, content: io.BufferedIOBase, size: int) -> str:
    start = content.read(CHUNK)
    if start.startswith(GZIP):
        return blobs.write(_unpacked(start, content), 0)
    return blobs.write(_chunks(start, content), size)


def _chunks(start: bytes, content: io.BufferedIOBase) -> Iterator[bytes]:
    yield start
    while chunk := content.read(CHUNK):
        yield chunk


def _unpacked(start: bytes, content: io.BufferedIOBase) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    for chunk in _chunks(start, content):
        yield unpacker.decompress(chunk)
    yield unpacker.flush()
    if not unpacker.eof:
        raise EOFError("a packed layer ends too early")


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file that is read from front to end."""

    def __init__(self, pieces: Iterable[bytes], tell: Tell) -> None:
        self._pieces, self._rest, self._done, self._tell = iter(pieces), b"", 0, tell

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found = [self._rest]
        have = len(self._rest)
        while have < size and (piece := next(self._pieces, None)) is not None:
            found.append(piece)
            have += len(piece)
            self._done += len(piece)
            self._tell(self._done)
        whole = b"".join(found)
        self._rest = whole[size:]
        return whole[:size]
