"""What a shared library is called and which others it is linked against, read from its ELF headers. Standard library only:
build images copy this file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MAGIC = b"\x7fELF\x02\x01"
"""64 bits, little-endian: every machine that CUDA libraries are made for."""
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS, _STRINGS_SIZE, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29
_LARGEST_TABLE = 1 << 26


@dataclass(frozen=True)
class Linked:
    """One library's name and links."""

    soname: str = ""
    needed: tuple[str, ...] = ()
    """Sonames of the libraries that it cannot be loaded without."""
    searched: tuple[str, ...] = ()
    """Folders it names itself where those may be, `$ORIGIN` replaced by its own."""


def links_of(path: Path) -> Linked | None:
    """The links of a library; None where the file cannot be read or is no such library."""
    try:
        with open(path, "rb") as file:
            return _read(file, str(path.resolve().parent))
    except (OSError, struct.error, ValueError, IndexError, OverflowError):
        return None


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def _read(file: BinaryIO, origin: str) -> Linked | None:
    header = file.read(64)
    if not header.startswith(_MAGIC):
        return None
    segments = _segments(file, header)
    dynamic = next((segment for segment in segments if segment.kind == _DYNAMIC), None)
    if dynamic is None:
        return Linked()
    entries = _entries(_part(file, dynamic.offset, dynamic.size))
    first = dict(reversed(entries))
    strings = _part(file, _offset_of(segments, first.get(_STRINGS, 0)), first.get(_STRINGS_SIZE, 0))
    named = [(tag, _string(strings, value)) for tag, value in entries if tag in (_NEEDED, _SONAME, _RPATH, _RUNPATH)]
    return Linked(
        next((name for tag, name in named if tag == _SONAME), ""),
        tuple(name for tag, name in named if tag == _NEEDED),
        tuple(_searched([name for tag, name in named if tag in (_RPATH, _RUNPATH)], origin)),
    )


def _segments(file: BinaryIO, header: bytes) -> list[_Segment]:
    (start,) = struct.unpack_from("<Q", header, 32)
    size, count = struct.unpack_from("<HH", header, 54)
    table = _part(file, start, size * count)
    rows = [struct.unpack_from("<IIQQQQ", table, number * size) for number in range(count)]
    return [_Segment(kind, offset, address, in_file) for kind, _, offset, address, _, in_file in rows]


def _entries(table: bytes) -> list[tuple[int, int]]:
    """(tag, value) up to the end mark."""
    entries = []
    for tag, value in struct.iter_unpack("<qQ", table[: len(table) // 16 * 16]):
        if tag == 0:
            break
        entries.append((tag, value))
    return entries


def _offset_of(segments: list[_Segment], address: int) -> int:
    """Where in the file an address of the loaded library is."""
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    raise ValueError("an address outside of the file")


def _part(file: BinaryIO, offset: int, size: int) -> bytes:
    if size > _LARGEST_TABLE:
        raise ValueError("a table larger than any linker writes")
    file.seek(offset)
    return file.read(size)


def _string(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode("utf-8", "replace")


def _searched(paths: list[str], origin: str) -> list[str]:
    folders = [folder for path in paths for folder in path.split(":") if folder]
    return [folder.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for folder in folders]
