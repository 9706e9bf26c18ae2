"""A model's files out of a container into a folder: in pieces, by several connections; a cut goes on at the piece.

Which pieces are there is noted beside the files, each with the ETag of its blob, so that a killed download goes on too.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.blob_store import BlobStore
from deploy.hands import Hands
from toolkit.core.files import as_size, free_bytes
from toolkit.core.model_registry import Moved, Tell
from toolkit.errors import CloudError, DiskError, ModelError, PublishError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

PIECE = 4 << 20
"""Bytes of a request, which are in memory once a connection."""
CONNECTIONS = 4
JOURNAL = ".edge-download"


@dataclass
class _File:
    """A file on its way."""

    name: str
    path: Path
    blob: str
    size: int
    etag: str
    md5: bytes
    done: set[int] = field(default_factory=set)
    """Pieces that are there."""

    @property
    def pieces(self) -> int:
        return -(-self.size // PIECE)

    @property
    def moved(self) -> int:
        last = self.pieces - 1
        return len(self.done) * PIECE - (self.pieces * PIECE - self.size if last in self.done else 0)


class Download:
    """A prefix's way into a folder."""

    def __init__(self, store: BlobStore, prefix: str, folder: Path, tell: Tell) -> None:
        self._store, self._prefix, self._folder, self._tell = store, prefix.rstrip("/"), folder, tell
        self._at, self._skipped = "", 0
        self._noting = threading.Lock()
        self._files: list[_File] = []

    def fetch(self, alone: bool = False) -> None:
        """Fetch what the folder lacks, and hold each file against its MD5 where the storage knows one; `alone`: beside nothing else.

        Raises:
            PublishError: other files lie in the folder that was to hold nothing else.
            ModelError: there are no files, or one that may not lie there.
            DiskError: they do not fit.
            CloudError: the storage refused, stays away, or the files changed meanwhile.
        """
        self._files = self._listed()
        if alone:
            self._refuse_others()
        self._folder.mkdir(parents=True, exist_ok=True)
        journal = self._folder / JOURNAL
        self._take_up(journal)
        missing = sum(file.size - file.moved for file in self._files)
        if missing > (free := free_bytes(self._folder)):
            raise DiskError(f"{as_size(missing)} are missing and {as_size(free)} are free at {self._folder}.", "Make room there.")
        self._say()
        with open(journal, "a", encoding="utf-8") as self._journal:
            for file in self._files:
                file.path.parent.mkdir(parents=True, exist_ok=True)
                with open(file.path, "ab") as out:
                    out.truncate(file.size)
            Hands(CONNECTIONS, self._store.stop).do(self._tasks(), self._do, self._say)
        self._say()
        for file in self._files:
            if file.md5 and _md5_of(file.path) != file.md5:
                journal.unlink()
                raise CloudError(f"{file.name} did not arrive as the storage has it.", "Download it again.")
        journal.unlink()

    def _refuse_others(self) -> None:
        """They would be taken for parts of the model."""
        ours = {file.path for file in self._files} | {self._folder / JOURNAL}
        others = sorted(
            path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file() and path not in ours
        )
        if others:
            raise PublishError(f"{self._folder} holds other files: {', '.join(others[:3])}.", "Name a new folder.")

    def _listed(self) -> list[_File]:
        """Every blob of the model, by the file it becomes."""
        files = []
        for blob in self._store.ask(lambda client: list(client.list_blobs(name_starts_with=self._prefix, include=["metadata"]))):
            is_ours = blob.name == self._prefix or blob.name.startswith(f"{self._prefix}/")  # not those of prefix-2
            if not is_ours or (blob.metadata or {}).get("hdi_isfolder"):
                continue
            name = blob.name[len(self._prefix) + 1 :] or self._prefix.rpartition("/")[2]
            path = self._folder / name
            if not path.resolve().is_relative_to(self._folder.resolve()):
                raise ModelError(f"The model holds a file that would lie outside its folder: {blob.name}", "Register the model anew.")
            files.append(_File(name, path, blob.name, blob.size, blob.etag, bytes(blob.content_settings.content_md5 or b"")))
        if not files:
            raise ModelError(f"The model holds no files: {self._prefix} in {self._store.access.host} is empty.", "Register the model anew.")
        return files

    def _take_up(self, journal: Path) -> None:
        """Pieces that an earlier try brought, of blobs that are still the same; whole files without a journal by their MD5."""
        known = {(file.name, file.etag): file for file in self._files}
        if journal.exists():
            for line in journal.read_text("utf-8").splitlines():
                with suppress(ValueError, TypeError, KeyError, OSError):
                    name, etag, number = json.loads(line)
                    if known[name, etag].path.stat().st_size == known[name, etag].size:
                        known[name, etag].done.add(int(number))
        else:
            for file in self._files:
                with suppress(OSError):
                    if file.md5 and file.path.stat().st_size == file.size and _md5_of(file.path) == file.md5:
                        file.done = set(range(file.pieces))
        self._skipped = sum(file.moved for file in self._files)

    def _tasks(self) -> Iterator[tuple[_File, int]]:
        return ((file, number) for file in self._files for number in range(file.pieces) if number not in file.done)

    def _do(self, task: tuple[_File, int]) -> None:
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

        file, number = task
        self._at = file.name
        try:
            content = self._store.ask(lambda client: _piece(client, file, number))
        except (ResourceModifiedError, ResourceNotFoundError):
            raise CloudError(f"{file.name} was changed while it was fetched.", "Download it again.") from None
        with open(file.path, "r+b", buffering=0) as out:
            out.seek(number * PIECE)
            view = memoryview(content)
            while view:
                view = view[out.write(view) :]
        with self._noting:
            file.done.add(number)
            self._journal.write(json.dumps([file.name, file.etag, number]) + "\n")
            self._journal.flush()

    def _say(self) -> None:
        with self._noting:
            parts = {file.name: (file.moved, file.size) for file in self._files}
        self._tell(Moved(self._at, sum(done for done, _ in parts.values()), sum(file.size for file in self._files), self._skipped, parts))


def _piece(client: ContainerClient, file: _File, number: int) -> bytes:
    from azure.core import MatchConditions

    size = min(PIECE, file.size - number * PIECE)
    same: dict[str, Any] = {"etag": file.etag, "match_condition": MatchConditions.IfNotModified}
    return client.get_blob_client(file.blob).download_blob(offset=number * PIECE, length=size, **same).readall()


def _md5_of(path: Path) -> bytes:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, lambda: hashlib.md5(usedforsecurity=False)).digest()
