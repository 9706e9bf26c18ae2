"""An image into a registry straight from its layout: no engine, nothing packed, and each byte moves once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from toolkit.core.blob_upload import BlobUpload, Left, PieceSize
from toolkit.core.engine import PushProgress
from toolkit.core.image_layers import layers_in, short_id
from toolkit.core.oci_layout import MANIFEST_TYPE, Layout, StoredLayer
from toolkit.core.reference import Reference
from toolkit.core.registry_access import Access
from toolkit.core.registry_session import Patience, Session
from toolkit.core.second_request import SecondRequests
from toolkit.core.uploads import Uploads
from toolkit.errors import PublishError

AT_ONCE = 3
"""Layers that move side by side: one waits for the registry while others send."""
TELL_SECONDS = 0.2
MOST_SOURCES = 3
"""So many repositories are asked for one layer."""
Sources = Mapping[str, Sequence[str]]
"""Repositories of the same registry that hold a blob, by its digest."""


class DirectPush:
    """Answers `ImageRegistry` from a layout."""

    def __init__(
        self,
        layout: Layout,
        access: Access,
        uploads: Uploads,
        sources: Sources | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] | None = None,
        piece: Callable[[], PieceSize] = PieceSize,
    ) -> None:
        self.layers = layers_in(layout)
        self._layout, self._access, self._uploads = layout, access, uploads
        self._sources, self._patience, self._piece = sources or {}, patience, piece
        self._sleep = sleep or self._wait
        self.sent = 0
        self._moved: frozenset[str] = frozenset()
        """Short ids of layers of which something was said."""
        self._counting = threading.Lock()
        self._said: queue.SimpleQueue[PushProgress | None] = queue.SimpleQueue()
        self._leaving = threading.Event()

    def push(self, target: Reference) -> Iterator[PushProgress | str]:
        session = Session(target, self._access, self._patience, self._sleep, {name for names in self._sources.values() for name in names})
        self._second = SecondRequests(session, self._uploads.file.parent)
        try:
            if not self._is_there(session):
                yield from self._blobs(session)
                self._put_manifest(session)
            yield from (PushProgress(layer.short, "Layer already exists") for layer in self.layers if layer.short not in self._moved)
            yield self._layout.manifest
        finally:
            self._second.close()
            session.close()

    def _wait(self, seconds: float) -> None:
        if self._leaving.wait(seconds):
            raise Left

    def _is_there(self, session: Session) -> bool:
        """The tag names this very image: then the registry has all of it."""
        url, accept = session.url(f"manifests/{session.reference.tag}"), {"Accept": MANIFEST_TYPE}
        answer = session.patiently(lambda: session.ask("HEAD", url, (200, 404), headers=accept))
        return answer.status == 200 and answer.headers.get("docker-content-digest") == self._layout.manifest

    def _blobs(self, session: Session) -> Iterator[PushProgress]:
        """Layers and configuration, the largest first."""
        config = StoredLayer("configuration of the image", self._layout.config, self._layout.blob(self._layout.config).stat().st_size)
        blobs = sorted({blob.digest: blob for blob in [config, *self._layout.layers]}.values(), key=lambda blob: -blob.size)
        self._leaving.clear()
        with ThreadPoolExecutor(AT_ONCE, "push") as pool:
            futures = [pool.submit(self._move, session, blob) for blob in blobs]
            for future in futures:
                future.add_done_callback(lambda _: self._said.put(None))
            try:
                left = len(futures)
                while left:
                    if said := self._said.get():
                        yield said
                        continue
                    left -= 1
                    for future in futures:
                        if future.done() and (problem := future.exception()) and not isinstance(problem, Left):
                            raise problem
            finally:
                self._leaving.set()
                for future in futures:
                    future.cancel()
        self._leaving.clear()  # the manifest may have to wait, too
        self._moved = frozenset(layer.short for layer in self.layers)

    def _move(self, session: Session, blob: StoredLayer) -> None:
        is_layer = blob.digest != self._layout.config
        tell = _Teller(blob, self._said.put if is_layer else lambda _: None, self._leaving)
        upload = BlobUpload(session, self._uploads, blob.digest, self._layout.blob(blob.digest), blob.size, self._piece(), self._second)
        if upload.is_there():
            self._uploads.forget(upload.key)
            return tell.ends("Layer already exists")
        for source in () if upload.is_begun else self._sources.get(blob.digest, ())[:MOST_SOURCES]:
            if upload.mounted(source):
                return tell.ends(f"Mounted from {source}")
        try:
            upload.send(tell)
        finally:
            with self._counting:
                self.sent += upload.sent
        tell.ends("Pushed")

    def _put_manifest(self, session: Session) -> None:
        content = self._layout.blob(self._layout.manifest).read_bytes()
        headers = {"Content-Type": MANIFEST_TYPE, "Content-Length": str(len(content))}
        url = session.url(f"manifests/{session.reference.tag}")
        answer = session.patiently(lambda: session.ask("PUT", url, (200, 201, 202), lambda: iter([content]), headers))
        there = answer.headers.get("docker-content-digest", self._layout.manifest)
        if there != self._layout.manifest:
            raise PublishError(
                f"The registry calls the image {there}; {self._layout.manifest} was pushed.", "Something between changes what is sent."
            )


class _Teller:
    """Says of one layer, some times a second, how far it is; ends it where nobody listens any more."""

    def __init__(self, blob: StoredLayer, say: Callable[[PushProgress], None], leaving: threading.Event) -> None:
        self._short, self._size = short_id(blob.digest), blob.size
        self._say, self._leaving, self._said_at = say, leaving, 0.0

    def __call__(self, done: int) -> None:
        if self._leaving.is_set():
            raise Left
        now = time.monotonic()
        if now - self._said_at >= TELL_SECONDS or done == self._size:
            self._said_at = now
            self._say(PushProgress(self._short, "Pushing", done, self._size))

    def ends(self, status: str) -> None:
        self._say(PushProgress(self._short, status))
