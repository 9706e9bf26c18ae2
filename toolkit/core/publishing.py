"""Tag, push, and look in the registry whether it holds what was sent. Publishing twice is safe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from toolkit.core import reference, registry
from toolkit.core.engine import LABEL, Credentials, Image, PushProgress
from toolkit.core.files import write_json
from toolkit.core.image_layers import NamedLayer, layers_of
from toolkit.core.run import Run
from toolkit.errors import PublishError, RunError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

THERE = ("Layer already exists", "Mounted from")
SETTLED = ("Pushed", *THERE)
STORED_FILE = "stored_layers.json"
"""In the run's folder: bytes of each layer as the registry stores it, by diff id."""
MOST_PARTS = 24
"""An event tells of no more layers than this."""


def request(image: Image, source: str, target: reference.Reference, username: str) -> dict:
    """What a publishing run is asked. The user name is kept, the password never is."""
    options = {"image": source, "image_id": image.id, "target": str(target), "username": username}
    steps = [{"name": kind, "kind": kind, "options": options, "inputs": {}} for kind in ("push", "verify")]
    return {"engine": "docker", "recipe": {"name": image.labels.get(f"{LABEL}.recipe", "image")}, "steps": steps}


def credentials(job: Job) -> Credentials | None:
    """The user name of the request with the password that came through the pipe."""
    username, password = job.secrets.get("username") or job.options["username"], job.secrets.get("password", "")
    return Credentials(username, password) if username and password else None


def push(job: Job) -> dict[str, float]:
    """Push the image; only layers that the registry lacks move."""
    engine = job.bench.image_engine()
    found = engine.find(job.options["image_id"])
    if found is None:
        raise PublishError(f"The image {job.options['image']} is not in the engine any more.", "Package the run again, then push.")
    target = reference.parse(job.options["target"])
    engine.tag(job.options["image_id"], str(target))
    moving = PushTally({layer.short: layer for layer in layers_of(engine, job.options["image_id"])})
    digest = ""
    for step in engine.push(str(target), credentials(job)):
        if isinstance(step, str):
            digest = step
            continue
        moving.took(step)
        job.progress(moving.done, moving.total or None, "bytes", moving.line(step), moving.parts())
    job.run.folder.joinpath("pushed.txt").write_text(digest + "\n")
    there = moving.count(THERE)
    return {
        "layers": len(moving.layers),
        "layers_already_there": there,
        "layers_pushed": len(moving.layers) - there,
        "bytes_read": float(moving.bytes_read),
    }


class PushTally:
    """How far a push is, summed up from what the engine says of its layers.

    Sizes are those of the layers' files, known before anything moves; what the engine counts is a little more, for the tar.
    """

    def __init__(self, named: Mapping[str, NamedLayer]) -> None:
        """`named`: the image's layers by their short id, which is what the engine calls them."""
        self._named = named
        self.layers: dict[str, PushProgress] = {}
        self._moved: dict[str, tuple[int, int]] = {}
        """Bytes read and in all, of each layer that moves."""

    def took(self, step: PushProgress) -> None:
        self.layers[step.layer] = step
        if step.total:
            self._moved[step.layer] = step.done, step.total
        if step.status.startswith(SETTLED) and step.layer in self._moved:
            self._moved[step.layer] = (self._moved[step.layer][1],) * 2

    @property
    def done(self) -> int:
        """Bytes of the layers that moved so far."""
        return sum(self._part(short)[0] for short in self._moved)

    @property
    def total(self) -> int:
        """Bytes that move at most: those of all layers but the ones that turned out to be there."""
        shorts = [*self._named, *(short for short in self.layers if short not in self._named)]
        return sum(self._part(short)[1] for short in shorts if short in self._moved or not self._is(short, THERE))

    @property
    def bytes_read(self) -> int:
        """As the engine counts them."""
        return sum(total for _, total in self._moved.values())

    def _is(self, short: str, statuses: tuple[str, ...]) -> bool:
        return short in self.layers and self.layers[short].status.startswith(statuses)

    def count(self, statuses: tuple[str, ...] = SETTLED) -> int:
        return sum(layer.status.startswith(statuses) for layer in self.layers.values())

    def line(self, step: PushProgress) -> str:
        share = f" {step.done / step.total:.0%}" if step.total else ""
        named = self._named.get(step.layer)
        return f"{self.count()} of {len(self.layers)} layers there; {named.name if named else step.layer} {step.status}{share}"

    def parts(self) -> dict[str, list[int]]:
        """`[done, total]` of each layer, base first; of a great many, those that are not there yet and the largest."""
        parts = {layer.name: self._part(short) for short, layer in self._named.items()}
        parts |= {short: self._part(short) for short in self.layers if short not in self._named}
        if len(parts) <= MOST_PARTS:
            return parts
        chosen = sorted(parts, key=lambda name: (parts[name][0] < parts[name][1], parts[name][1]), reverse=True)[:MOST_PARTS]
        return {name: part for name, part in parts.items() if name in chosen}

    def _part(self, short: str) -> list[int]:
        read, of = self._moved.get(short, (0, 0))
        total = (self._named[short].bytes if short in self._named else 0) or of
        if self._is(short, SETTLED):
            return [total, total]
        return [min(total, total * read // of) if of else 0, total]


def verify(job: Job) -> dict[str, float]:
    """Read the digest back from the registry and compare it with the one the engine pushed."""
    target = reference.parse(job.options["target"])
    pushed = job.run.folder.joinpath("pushed.txt").read_text().strip()
    with registry.Conversation(target, credentials(job)) as talk:
        there = talk.stored()
        sizes = talk.layer_sizes(there) if there else {}
    if there is None:
        raise PublishError(f"The registry does not hold {target} after the push.", "Push again.")
    if there.digest != pushed:
        raise PublishError(
            f"The registry holds {there.digest} under {target}; {pushed} was pushed.",
            "Somebody pushed there meanwhile; push again under another tag.",
        )
    write_json(job.run.folder / STORED_FILE, sizes)
    job.left("release", f"{target.host}/{target.repository}@{there.digest}", there.bytes, there.digest.removeprefix("sha256:"))
    return {"bytes": there.bytes, "layers": len(there.layers)}


def stored_sizes(runs: list[Run]) -> dict[str, int]:
    """Bytes of layers as registries store them, by diff id: what earlier pushes found out. The same layer packs to the same size."""
    sizes: dict[str, int] = {}
    for run in runs:
        with suppress(OSError, ValueError, TypeError):
            sizes |= json.loads((run.folder / STORED_FILE).read_text("utf-8"))
    return sizes


def earlier_targets(runs: list[Run]) -> list[str]:
    """Where images went before, `HOST/REPOSITORY`, the newest first; a tag is the image's own unless one is given."""
    found: dict[str, None] = {}
    for run in reversed(runs):
        with suppress(RunError, PublishError, KeyError):
            if run.kind == "publish":
                target = reference.parse(run.request["steps"][0]["options"]["target"])
                found[f"{target.host}/{target.repository}"] = None
    return list(found)


def under_way(runs: list[Run]) -> Run | None:
    """The newest push that is driven now, such as one that another front end started."""
    for run in reversed(runs):
        with suppress(RunError, OSError):
            if run.kind == "publish" and run.is_locked():
                return run
    return None
