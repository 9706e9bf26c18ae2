"""Tag, push, and look in the registry whether it holds what was sent. Publishing twice is safe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core import oci_layout, reference, registry
from toolkit.core.cloud import is_cloud_registry
from toolkit.core.direct_push import DirectPush
from toolkit.core.engine import Credentials, PushProgress
from toolkit.core.files import write_json
from toolkit.core.image_layers import NamedLayer
from toolkit.core.image_registry import EnginePush, ImageRegistry
from toolkit.core.oci_layout import Layout
from toolkit.core.push_keeper import remembered
from toolkit.core.registry_access import Access
from toolkit.core.run import Run
from toolkit.errors import PublishError, RunError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job
    from toolkit.core.workbench import Workbench

THERE = ("Layer already exists", "Mounted from")
SETTLED = ("Pushed", *THERE)
STORED_FILE = "stored_layers.json"
"""In the run's folder: bytes of each layer as the registry stores it, by diff id."""
PUSHED_FILE = "pushed_layers.json"
"""In the run's folder: where the image went, and the digests of its layers there."""
MOST_PLATFORMS = 4
"""So many images of one index are looked into."""
MOST_PARTS = 24
"""An event tells of no more layers than this."""


def credentials(job: Job) -> Access:
    """The user that was typed, with the password that came through the pipe; else the cloud's sign-in for its registries; else nobody."""
    username, password = job.secrets.get("username") or job.options["username"], job.secrets.get("password", "")
    typed = Credentials(username, password) if username and password else None
    return access_for(job.bench, reference.parse(job.options["target"]).host, typed)


def access_for(bench: Workbench, host: str, typed: Credentials | None) -> Access:
    """What lets us in at a registry.

    Raises:
        CloudError: it is the cloud's, and the cloud does not know us.
    """
    return typed or (bench.cloud().registry_sign_in(host) if is_cloud_registry(host) else None)


def push(job: Job) -> dict[str, float]:
    """Push the image; only layers that the registry lacks move."""
    target = reference.parse(job.options["target"])
    way = _way(job, target)
    moving = PushTally({layer.short: layer for layer in way.layers})
    digest = ""
    for step in way.push(target):
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
        **({} if way.sent is None else {"bytes_sent": float(way.sent)}),
    }


def _way(job: Job, target: reference.Reference) -> ImageRegistry:
    options = job.options
    if options.get("via") != "direct":
        return EnginePush(job.bench.image_engine(), options["image_id"], options["image"], credentials(job))
    layout = oci_layout.read(Path(options["layout"]), options["image"])
    _check_tried(job, layout)
    runs = list(_others(job))
    uploads = remembered(job.run.folder, [run.folder for run in runs if not run.is_locked()])
    return DirectPush(layout, credentials(job), uploads, sources(runs, target))


def _others(job: Job) -> Iterator[Run]:
    """Other publishing runs, oldest first; those that cannot be read are left out."""
    for run in job.bench.runs():
        with suppress(RunError, OSError):
            if run.kind == "publish" and run.folder != job.run.folder:
                yield run


def _check_tried(job: Job, layout: Layout) -> None:
    """What goes out is what packaging made and chatted with, and nothing else."""
    made = {job.options["image_id"]}
    if job.options.get("package"):
        package = job.bench.run(job.options["package"])
        tried = {f"sha256:{artifact.sha256}" for artifact in package.state().artifacts if artifact.kind == "image"}
        made = made if tried & {layout.config, layout.manifest} else set()  # some engines know an image by its manifest
    if layout.config not in made:
        raise PublishError(
            f"The layout in {layout.folder} is not the image {job.options['image']} that was tried: its configuration is {layout.config[:19]}.",
            "`edge package` the build again.",
        )


def sources(runs: list[Run], target: reference.Reference) -> dict[str, list[str]]:
    """Other repositories of the target's host by the digests of layers that were pushed there, the newest first."""
    found: dict[str, list[str]] = {}
    for run in reversed(runs):
        with suppress(OSError, ValueError, TypeError, KeyError):
            pushed = json.loads((run.folder / PUSHED_FILE).read_text("utf-8"))
            if pushed["host"] == target.host and pushed["repository"] != target.repository:
                for digest in pushed["layers"]:
                    if pushed["repository"] not in found.setdefault(digest, []):
                        found[digest].append(pushed["repository"])
    return found


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
    """Read the image back from the registry: the digest that was pushed, over the configuration that was tried."""
    target = reference.parse(job.options["target"])
    pushed = job.run.folder.joinpath("pushed.txt").read_text().strip()
    with registry.Conversation(target, credentials(job)) as talk:
        there = talk.stored()
        if there is None:
            raise PublishError(f"The registry does not hold {target} after the push.", "Push again.")
        if there.digest != pushed:
            raise PublishError(
                f"The registry holds {there.digest} under {target}; {pushed} was pushed.",
                "Somebody pushed there meanwhile; push again under another tag.",
            )
        _check_config(talk, there, target, job.options["image_id"])
        sizes = dict(zip(there.layers, there.sizes, strict=True)) if _is_direct(job) else talk.layer_sizes(there)
    write_json(job.run.folder / STORED_FILE, sizes)
    held = {"host": target.host, "repository": target.repository, "layers": list(dict.fromkeys(there.layers))}
    write_json(job.run.folder / PUSHED_FILE, held)
    job.left("release", f"{target.host}/{target.repository}@{there.digest}", there.bytes, there.digest.removeprefix("sha256:"))
    return {"bytes": there.bytes, "layers": len(there.layers)}


def _is_direct(job: Job) -> bool:
    """Layers are stored as they are: the digest of each is its diff id."""
    return job.options.get("via") == "direct"


def _check_config(talk: registry.Conversation, there: registry.Stored, target: reference.Reference, image_id: str) -> None:
    """Engines name an image by its configuration, some by its manifest or an index of it."""
    found = {there.digest, there.config}
    if not found & {image_id} and there.images:
        found |= {image.config for digest in there.images[:MOST_PLATFORMS] if (image := talk.stored(digest))}
    if image_id not in found:
        raise PublishError(
            f"The registry holds another image under {target} than the one that was tried: its configuration is {there.config[:19]}, "
            f"not {image_id[:19]}.",
            "Do not use it. `edge package` the build again, and push that.",
        )


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
