"""What a fetched model's folder held when it had arrived, so that a later change of it is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit.core.files import sha256_of, write_json
from toolkit.errors import ModelError

FILE = ".edge-model.json"
"""Lies in the folder; hidden, as what is no part of a model."""
MOST_NAMED = 3


def note_files(folder: Path, source: str) -> None:
    """Write down every file with its sha256."""
    files = {path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), **_stamp(path)} for path in _files(folder)}
    write_json(folder / FILE, {"source": source, "files": files})


def check_files(folder: Path) -> None:
    """Hold the folder against its manifest. Only what has another size or time is read; a folder without one passes.

    Raises:
        ModelError: a file was changed, or came or went.
    """
    try:
        noted = json.loads((folder / FILE).read_text("utf-8"))
        files: dict[str, dict[str, Any]] = {str(name): dict(about) for name, about in noted["files"].items()}
        source = str(noted["source"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"{folder / FILE} is damaged: {exc}", f"Remove {folder}: the model is fetched anew.") from exc
    here = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    changed = sorted(files.keys() ^ here.keys())
    moved = [
        name for name in files.keys() & here.keys() if _stamp(here[name]) != {key: files[name].get(key) for key in ("size", "mtime_ns")}
    ]
    changed += sorted(name for name in moved if sha256_of(here[name]) != files[name].get("sha256"))
    if changed:
        named = ", ".join(changed[:MOST_NAMED]) + (f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else "")
        raise ModelError(
            f"The files of {source} were changed here after they were fetched: {named}.",
            f"Remove {folder} to fetch them anew; where the change is meant, move the folder and name it as [model] source.",
        )
    if moved:
        note_files(folder, source)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _stamp(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
