"""What we ask of whoever does the work: a BuildEngine drives runs, an ImageEngine holds images and serves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from toolkit.core.run import Run

LABEL = "edge-toolkit"
"""Prefix of the labels that everything of ours wears, so that we touch ours and only ours."""


@dataclass(frozen=True)
class Exit:
    """How a driver ended."""

    code: int | None = None
    out_of_memory: bool = False
    reason: str = ""


class BuildEngine(Protocol):
    """Drives a run in the background, so that no terminal has to stay open for it."""

    name: str

    def start(self, run: Run, lock: int) -> None:
        """Start a detached driver. `lock` is the descriptor of the run's held driver lock.

        Raises:
            EngineError: it could not be started.
        """

    def is_alive(self, run: Run) -> bool:
        """True while a driver of this run exists, even one that has not written a word yet."""

    def exit_of(self, run: Run) -> Exit | None:
        """How the last driver of this run ended; None where nothing is known of it."""

    def stop(self, run: Run, grace_seconds: float = 10) -> None:
        """End the driver: asked first, killed after the grace."""

    def forget(self, run: Run) -> None:
        """Remove what the engine keeps of this run's ended drivers."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself."""

    version: str
    api: str
    storage: str
    root: str
    """Folder of its images, for the disk forecast."""
    cpus: int
    memory: int
    """Bytes."""
    runtimes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image in the engine."""

    id: str
    tags: tuple[str, ...]
    bytes: int
    created: str
    labels: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    """Diff ids, base first."""
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageLayer:
    """A layer of an image in the engine."""

    diff_id: str
    bytes: int
    """Bytes of its files, unpacked; 0 also where the engine does not say."""
    made_by: str
    """What the image's history says of it."""


@dataclass(frozen=True)
class PushProgress:
    """One layer's way into the registry."""

    layer: str
    status: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Credentials:
    """What a registry lets us in with. Never written anywhere."""

    username: str
    password: str = field(repr=False)


KEY_FILE = "api-key"
"""Beside a server's socket: what its clients must bring. A file, for anybody may read arguments, and an engine shows variables."""


@dataclass(frozen=True)
class Server:
    """A chat server that was started: where it listens and what it is called."""

    socket: Path
    handle: str
    port: int = 0
    """Port on loopback instead of the socket; 0: the socket."""
    lifeline: object = field(default=None, repr=False, compare=False)
    """The other end of the server's standard input. It closes when we die, however we die, and the server ends with it."""
    api_key: str = field(default="", repr=False, compare=False)
    """What it asks for; empty: nothing."""


class ChatHost(Protocol):
    """Starts and ends chat servers that listen on a Unix socket, or on a port of loopback for other clients.

    A server ends by itself once its starter is gone: killed, cut off, or ended without a word.
    """

    def serve(self, target: str, folder: Path, memory_mb: int = 0, cpus: float = 0, port: int = 0) -> Server:
        """Serve `target` on a socket in `folder`, or on `port` of 127.0.0.1. It asks for the key in the file KEY_FILE of `folder`, if any.

        Raises:
            EngineError: the server could not be started.
        """

    def is_serving(self, server: Server) -> bool: ...

    def ended(self, server: Server) -> Exit | None:
        """How the server ended; None while it serves."""

    def last_words(self, server: Server) -> str:
        """The end of the server's log, and how it ended if it did."""

    def end(self, server: Server) -> None: ...


class ImageEngine(ChatHost, Protocol):
    """Holds images: builds, loads, runs, pushes and removes them."""

    def facts(self) -> EngineFacts: ...

    def build(self, context: Path, tag: str, target: str, arguments: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
        """Build an image from a folder with a Dockerfile; yields the lines of its output."""

    def find(self, reference: str) -> Image | None: ...

    def ask(self, reference: str, argv: Sequence[str], gpu: bool = False) -> tuple[int, str]:
        """Exit code and output of a short program in an image, without a network; the container is gone after it.

        Raises:
            EngineError: it could not be started, or did not end in time.
        """

    def pull(self, reference: str) -> bool:
        """Fetch an image from its registry; False where it cannot be had."""

    def images(self, label: str) -> list[Image]:
        """Images that wear the label, newest first."""

    def layers(self, reference: str) -> list[ImageLayer]:
        """The layers of an image, base first; none where it is not there."""

    def load(self, archive: Iterable[bytes]) -> None:
        """Take an image archive in."""

    def save(self, reference: str) -> Iterable[bytes]: ...

    def tag(self, reference: str, target: str) -> None: ...

    def untag(self, reference: str) -> None: ...

    def ended_containers(self, runs: Path) -> list[tuple[str, str]]:
        """Ids and names of containers that run no more: builds of this folder of runs, and chats."""

    def remove_container(self, identity: str) -> None: ...

    def push(self, reference: str, credentials: Credentials | None) -> Iterator[PushProgress | str]:
        """Push; yields progress, at last the digest as the engine saw it.

        Raises:
            PublishError: the registry refused or went away; the engine says so only inside its stream.
        """
