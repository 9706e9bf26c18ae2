"""Small, safe ways with files: write whole or not at all, sizes, free space, hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file whole: a temporary beside it, then a rename over it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def freed_bytes(folders: Iterable[Path]) -> int:
    """Bytes that become free when folders go. A file that has another name elsewhere, such as a layer that two images share, stays."""
    names: dict[tuple[int, int], int] = {}
    freed = 0
    for folder in folders:
        for parent, _, files in os.walk(folder):
            for name in files:
                with suppress(OSError):
                    stat = os.lstat(os.path.join(parent, name))
                    key = stat.st_dev, stat.st_ino
                    names[key] = names.get(key, 0) + 1
                    freed += stat.st_size if names[key] == stat.st_nlink else 0
    return freed


def free_bytes(path: Path) -> int:
    """Bytes a normal user may still write where `path` is or will be."""
    return disk_of(path).free


@dataclass(frozen=True)
class Disk:
    """The disk that a path is or will be on, in bytes."""

    free: int
    """What a normal user may still write."""
    total: int


def disk_of(path: Path) -> Disk:
    """The disk of a path that need not be there yet."""
    while not path.exists():
        path = path.parent
    usage = shutil.disk_usage(path)
    return Disk(usage.free, usage.total)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def as_size(count: float) -> str:
    """Bytes for people, in powers of 1000: 2.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def as_round_size(count: float) -> str:
    """Bytes for people, in two or three digits, so that it seldom changes: 2.5 GB, 25 GB, 250 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if abs(count) >= 9.95 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def as_round_duration(seconds: float | None) -> str:
    """Seconds for people, so that it seldom changes: under a minute, then minutes, hours, days."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return "<1 min"
    for unit, length, limit in (("min", 60, 3600), ("h", 3600, 86400), ("d", 86400, float("inf"))):
        if seconds < limit:
            return f"{seconds // length:.0f} {unit}"
    raise AssertionError("unreachable")


def as_duration(seconds: float | None) -> str:
    """Seconds for people: 0.4 s, 12 s, 3 min 05 s, 2 h 04 min."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
