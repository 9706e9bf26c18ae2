"""Stand-ins that keep the same contracts as the real engines: a driver is a script of what it will say."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core import events as ev
from toolkit.core.engine import EngineFacts, Exit, Image, ImageLayer, PushProgress, Server
from toolkit.core.run import Run
from toolkit.errors import EngineError


@dataclass
class FakeEngine:
    """A BuildEngine whose drivers live in memory: `says` appends their events, `dies` ends them."""

    name: str = "fake"
    refuses: str = ""
    """Message of the error that `start` raises, if any."""
    alive: dict[str, int] = field(default_factory=dict)
    exits: dict[str, Exit] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)

    def start(self, run: Run, lock: int) -> None:
        if self.refuses:
            raise EngineError(self.refuses, "Start it.")
        held = os.dup(lock)  # as a driver inherits it
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.alive[run.id] = held
        self.exits.pop(run.id, None)
        self.starts.append(run.id)
        self.says(run, ev.RunStarted(driver="fake", handle="1"))

    def says(self, run: Run, *events: ev.Event) -> None:
        for event in events:
            run.append(event)

    def dies(self, run: Run, code: int, out_of_memory: bool = False) -> None:
        os.close(self.alive.pop(run.id))
        self.exits[run.id] = Exit(code, out_of_memory, "out of memory" if out_of_memory else f"exit code {code}")

    def finishes(self, run: Run) -> None:
        for step in run.request["steps"]:
            self.says(run, ev.StepStarted(step=step["name"]), ev.StepFinished(step=step["name"], seconds=1))
        self.says(run, ev.RunFinished(seconds=1))
        self.dies(run, 0)

    def is_alive(self, run: Run) -> bool:
        return run.id in self.alive

    def exit_of(self, run: Run) -> Exit | None:
        return self.exits.get(run.id)

    def stop(self, run: Run, grace_seconds: float = 10) -> None:
        if run.id in self.alive:
            self.says(run, ev.RunStopped())
            self.dies(run, 143)

    def forget(self, run: Run) -> None:
        self.exits.pop(run.id, None)


@dataclass
class FakeImages:
    """An ImageEngine in memory. `pushes` is what the registry will say to the next push."""

    known: dict[str, Image] = field(default_factory=dict)
    archives: list[bytes] = field(default_factory=list)
    pushes: list[PushProgress | str | Exception] = field(default_factory=list)
    of_layers: dict[str, ImageLayer] = field(default_factory=dict)
    """What is known of layers, by diff id."""
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    """What programs in images answer, by image."""

    def facts(self) -> EngineFacts:
        return EngineFacts("0", "0", "memory", "/", 1, 1)

    def build(self, context: Path, tag: str, target: str, arguments: Mapping[str, str], labels: Mapping[str, str]) -> Iterator[str]:
        self.known[tag] = Image(
            "sha256:base", (tag,), 1, "", dict(labels), ("sha256:b",), {"Config": {}, "Os": "linux", "Architecture": "amd64"}
        )
        yield "built"

    def find(self, reference: str) -> Image | None:
        return self.known.get(reference) or next((image for image in self.known.values() if image.id == reference), None)

    def ask(self, reference: str, argv: Sequence[str], gpu: bool = False) -> tuple[int, str]:
        return self.answers[reference]

    def pull(self, reference: str) -> bool:
        return False

    def images(self, label: str) -> list[Image]:
        key, _, value = label.partition("=")
        found = {image.id: image for image in self.known.values() if image.labels.get(key) == value}
        return list(found.values())

    def layers(self, reference: str) -> list[ImageLayer]:
        image = self.find(reference)
        return [self.of_layers.get(diff_id, ImageLayer(diff_id, 0, "")) for diff_id in image.layers] if image else []

    def load(self, archive: Iterable[bytes]) -> None:
        self.archives.append(b"".join(archive))

    def save(self, reference: str) -> Iterable[bytes]:
        return []

    def tag(self, reference: str, target: str) -> None:
        found = self.find(reference)
        assert found
        self.known[target] = found

    def untag(self, reference: str) -> None:
        self.known.pop(reference, None)

    def push(self, reference: str, credentials: object) -> Iterator[PushProgress | str]:
        for said in self.pushes:
            if isinstance(said, Exception):
                raise said
            yield said

    def serve(self, target: str, folder: Path, memory_mb: int = 0, cpus: float = 0, port: int = 0) -> Server:
        raise EngineError("A fake serves nothing.")

    def is_serving(self, server: Server) -> bool:
        return False

    def ended(self, server: Server) -> Exit | None:
        return Exit(reason="a fake serves nothing")

    def last_words(self, server: Server) -> str:
        return ""

    def end(self, server: Server) -> None: ...

    def ended_containers(self, runs: Path) -> list[tuple[str, str]]:
        return []

    def remove_container(self, identity: str) -> None: ...
