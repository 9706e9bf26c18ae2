"""A folder into a container, under an address that its content names: what is there already is never sent again.

A large file goes as blocks. The id of a block says its place and the MD5 of its bytes, so that blocks which an earlier try
left uncommitted are known by what they hold: a killed upload goes on at the block. The SDK's own uploader is not used: it
waits for ever where a block fails, leaves out what a .gitignore names, and says nothing before a file is there whole.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.blob_store import BlobStore, Stopped
from deploy.hands import Hands
from toolkit.core.model_registry import Moved, Tell
from toolkit.errors import PublishError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

BLOCK = 8 << 20
"""Bytes of a block, which are in memory once a connection."""
CONNECTIONS = 4
MOST_BLOCKS = 50_000
"""Of one blob, by Azure's rules."""
AT_ONCE = 256 << 10
"""Up to this a file goes in one request."""
LEAST_SENT, MOST_SENT = 16 << 10, 1 << 20
"""Bytes handed to a connection at a time: few where it is slow, so that progress moves."""
CONTENT = "edge_content"
"""Metadata of every blob: the digest of the content that it is part of."""


@dataclass
class _File:
    """A file on its way."""

    name: str
    path: Path
    size: int
    changed: int
    """When it was written last, in nanoseconds: it must stay so."""
    block: int
    there: dict[str, int] = field(default_factory=dict)
    """Blocks that an earlier try left: bytes by id."""
    ids: dict[int, str] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    """Bytes that went out, of each block."""
    is_open: bool = True

    def __post_init__(self) -> None:
        self.done = [0] * self.blocks

    @property
    def blocks(self) -> int:
        return -(-self.size // self.block)

    @property
    def moved(self) -> int:
        return sum(self.done) if self.is_open else self.size


class _Piece:
    """A block as its request reads it. Counts what goes out."""

    def __init__(self, content: memoryview, file: _File, number: int, stop: threading.Event) -> None:
        self._content, self._file, self._number, self._stop = content, file, number, stop
        self._at, self._step, self._taken = 0, LEAST_SENT, 0.0

    def __len__(self) -> int:
        return len(self._content)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._content)}[whence] + offset
        return self._at

    def read(self, size: int = -1) -> memoryview:
        """The next bytes: as many as the connection took lately, whatever it asks for."""
        if self._stop.is_set():
            raise Stopped
        now = time.monotonic()
        if self._taken:
            self._step = min(MOST_SENT, self._step * 2) if now - self._taken < 0.05 else max(LEAST_SENT, self._step // 4)
        self._taken = now
        self._file.done[self._number] = self._at  # what was handed out before has gone
        found = self._content[self._at : self._at + self._step]
        self._at += len(found)
        return found


class Upload:
    """A folder's way into a container."""

    def __init__(self, store: BlobStore, folder: Path, prefix: str, digest: str, tell: Tell) -> None:
        self._store, self._prefix, self._digest, self._tell = store, prefix, digest, tell
        self._files = _files_in(folder)
        self._total = sum(file.size for file in self._files)
        self._skipped = 0
        self._at = ""
        self._finishing = threading.Lock()

    def send(self) -> None:
        """Send what the container lacks.

        Raises:
            PublishError: a file changed meanwhile.
            CloudError: the storage refused, or stays away.
        """
        missing = self._missing()
        self._say()
        if missing:
            self._store.ask(lambda client: self._try_right(client, missing[0]))
            Hands(CONNECTIONS, self._store.stop).do(self._tasks(missing), self._do, self._say)
            self._say()

    def _missing(self) -> list[_File]:
        """The files that are not there whole."""
        known = {file.name: file for file in self._files}
        for blob in self._store.ask(lambda client: list(client.list_blobs(name_starts_with=f"{self._prefix}/", include=["metadata"]))):
            file = known.get(blob.name[len(self._prefix) + 1 :])
            if file and self._is_whole(blob, file):
                file.is_open = False
                self._skipped += file.size
        return [file for file in self._files if file.is_open]

    def _is_whole(self, blob: Any, file: _File) -> bool:
        """A block blob is there only once it was committed whole; whose content it is part of, its metadata says."""
        if blob.size != file.size:
            return False
        content = (blob.metadata or {}).get(CONTENT)
        if content:
            return content == self._digest
        known = blob.content_settings.content_md5
        return not known or bytes(known) == _md5_of(file.path)

    def _try_right(self, client: ContainerClient, file: _File) -> None:
        """Whether we may write at all: a list of no known block is refused as such only to those who may. Leaves nothing."""
        from azure.core.exceptions import HttpResponseError
        from azure.storage.blob import BlobBlock

        try:
            client.get_blob_client(self._blob(file)).commit_block_list([BlobBlock(_block_id(0, b"\0" * 16))])
        except HttpResponseError as exc:
            if exc.status_code != 400:
                raise

    def _blob(self, file: _File) -> str:
        return f"{self._prefix}/{file.name}"

    def _tasks(self, files: list[_File]) -> Iterator[tuple[_File, int]]:
        """Every block, file by file; a small file is one task."""
        for file in files:
            if file.size <= AT_ONCE:
                yield file, 0
                continue
            file.there = self._uncommitted(file)
            for number in range(file.blocks):
                yield file, number

    def _uncommitted(self, file: _File) -> dict[str, int]:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            _, blocks = self._store.ask(lambda client: client.get_blob_client(self._blob(file)).get_block_list("uncommitted"))
        except ResourceNotFoundError:
            return {}
        return {block.id: block.size for block in blocks}

    def _do(self, task: tuple[_File, int]) -> None:
        file, number = task
        self._at = file.name
        if file.size <= AT_ONCE:
            self._send_whole(file)
            return
        content = _read(file, number)
        mark = hashlib.md5(content, usedforsecurity=False).digest()
        name = _block_id(number, mark)
        is_there = file.there.get(name) == len(content)
        if not is_there:
            self._store.ask(lambda client: self._stage(client, file, number, name, mark, content))
        file.done[number] = len(content)
        with self._finishing:
            self._skipped += len(content) if is_there else 0
            file.ids[number] = name
            is_last = len(file.ids) == file.blocks
        if is_last:
            _check(file)
            self._store.ask(lambda client: self._commit(client, file))
            file.is_open = False

    def _stage(self, client: ContainerClient, file: _File, number: int, name: str, mark: bytes, content: memoryview) -> None:
        file.done[number] = 0
        check = {"Content-MD5": base64.b64encode(mark).decode()}
        piece: Any = _Piece(content, file, number, self._store.stop)
        client.get_blob_client(self._blob(file)).stage_block(name, piece, length=len(content), headers=check)

    def _commit(self, client: ContainerClient, file: _File) -> None:
        from azure.storage.blob import BlobBlock

        blocks = [BlobBlock(file.ids[number]) for number in range(file.blocks)]
        client.get_blob_client(self._blob(file)).commit_block_list(blocks, metadata={CONTENT: self._digest})

    def _send_whole(self, file: _File) -> None:
        content = bytes(_read(file, 0))
        _check(file)
        self._store.ask(
            lambda client: client.get_blob_client(self._blob(file)).upload_blob(
                content, length=len(content), overwrite=True, validate_content=bool(content), metadata={CONTENT: self._digest}
            )
        )
        file.is_open = False

    def _say(self) -> None:
        parts = {file.name: (file.moved, file.size) for file in self._files}
        self._tell(Moved(self._at, sum(done for done, _ in parts.values()), self._total, self._skipped, parts))


def _files_in(folder: Path) -> list[_File]:
    """Every file, hidden ones too, whatever an ignore file says.

    Raises:
        PublishError: there is none, or one that cannot go.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name, found = path.relative_to(folder).as_posix(), path.stat()
            block = max(BLOCK, -(-found.st_size // MOST_BLOCKS // (1 << 20)) * (1 << 20))
            files.append(_File(name, path, found.st_size, found.st_mtime_ns, block))
    if not files:
        raise PublishError(f"There are no files in {folder}.", "`edge package` the build again.")
    return files


def _read(file: _File, number: int) -> memoryview:
    size = min(file.block, file.size - number * file.block)
    with open(file.path, "rb", buffering=0) as source:
        source.seek(number * file.block)
        content = bytearray(size)
        view, filled = memoryview(content), 0
        while filled < size:
            count = source.readinto(view[filled:])
            if not count:
                raise _changed(file)
            filled += count
    return view


def _check(file: _File) -> None:
    """Before a file counts as there: what went out is what the digest was taken of."""
    found = file.path.stat()
    if (found.st_size, found.st_mtime_ns) != (file.size, file.changed):
        raise _changed(file)


def _changed(file: _File) -> PublishError:
    return PublishError(f"{file.name} changed while it was sent.", "Publish again once nothing writes there.")


def _block_id(number: int, mark: bytes) -> str:
    return f"{number:06d}-{mark.hex()}"


def _md5_of(path: Path) -> bytes:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, lambda: hashlib.md5(usedforsecurity=False)).digest()
