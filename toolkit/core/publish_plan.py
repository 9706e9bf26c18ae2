"""What a push would move: each layer there already, missing, or not known; asked of the registry, moving nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from toolkit.core import publishing
from toolkit.core.engine import Credentials
from toolkit.core.files import as_size
from toolkit.core.image_layers import NamedLayer, layers_in, layers_of
from toolkit.core.oci_layout import Layout
from toolkit.core.publish_start import AUTO, DIRECT, ENGINE, Source, find_source, whole_target
from toolkit.core.reference import Reference
from toolkit.core.registry import Conversation, Stored, newest_first
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import RegistryDenied, RunError

MOST_IMAGES = 12
"""So many images of the repository are read, the newest; a layer in none of them is not known to be missing if there are more."""


@dataclass(frozen=True)
class PlannedLayer:
    """A layer and whether it has to move."""

    layer: NamedLayer
    status: str
    """present, missing or unknown."""
    packed: int | None = None
    """Bytes as a registry stores it: as this one does, or as another one did that it was pushed to; None: not known."""
    mounts: str = ""
    """Repository of the same registry that it was pushed to before: it is probably taken over from there, and does not move."""


@dataclass(frozen=True)
class PublishPlan:
    """What a push of `image` to `target` would move."""

    image: str
    identity: str
    target: str
    layers: tuple[PlannedLayer, ...]
    tag: str
    """new, same (this very image is there), other (another image is there and will be replaced)."""
    digest: str = ""
    """Digest of what the tag names now."""
    images_read: int = 0
    """Images of the repository that were looked into."""
    images_there: int | None = None
    """Tags of the repository; None: the registry does not list them."""
    via: str = ENGINE
    """direct: layers move as they are, and what is told of them is exact; engine: packed."""

    def having(self, status: str) -> tuple[PlannedLayer, ...]:
        return tuple(planned for planned in self.layers if planned.status == status)

    @property
    def to_move(self) -> tuple[PlannedLayer, ...]:
        """What moves at most."""
        return tuple(planned for planned in self.layers if planned.status != "present")

    @property
    def unpacked_bytes(self) -> int:
        """Upper bound of what moves: layers travel packed."""
        return sum(planned.layer.bytes for planned in self.to_move)

    @property
    def packed_bytes(self) -> int | None:
        """What moves, as earlier pushes packed the same layers; None where one was never pushed."""
        sizes = [planned.packed for planned in self.to_move]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def make_plan(bench: Workbench, name: str, target: str, typed: Credentials | None, via: str = AUTO) -> PublishPlan:
    """Ask the registry what it has of an image, by the way that a push would go: from its layout where that is at hand.

    Raises:
        PublishError: malformed target, no such image, or a registry that does not answer.
        RegistryDenied: it does not let us in.
        EngineMissing: only an engine knows the image, and none answers.
        CloudError: the registry is the cloud's, and the cloud does not know us.
    """
    whole_target(target, Source("any:1", "", "any", None))  # before the engine is asked anything
    source = find_source(bench, name, via)
    parsed = whole_target(target, source)
    with Conversation(parsed, publishing.access_for(bench, parsed.host, typed)) as talk:
        there = talk.stored()
        if source.layout:
            return _direct(bench, talk, source, source.layout, there)
        layers = layers_of(bench.image_engine(), source.image_id)
        seen = _look(talk, parsed, there, {layer.diff_id for layer in layers})
    packed_elsewhere = publishing.stored_sizes([run for run in bench.runs() if not _is_direct(run)])
    planned = tuple(_planned(layer, seen, packed_elsewhere) for layer in layers)
    told = there.digest if there else ""
    return PublishPlan(source.image, source.image_id, str(parsed), planned, _tag(there, source.image_id), told, seen.read, seen.tags)


def _direct(bench: Workbench, talk: Conversation, source: Source, layout: Layout, there: Stored | None) -> PublishPlan:
    """Exact: each blob is asked for, and moves as it is."""
    tag = _tag(there, layout.config)
    has_all = tag == "same" and there is not None and there.digest == layout.manifest
    held = publishing.sources(bench.runs(), talk.reference)
    planned = []
    for layer in layers_in(layout):
        is_there = has_all or talk.has_blob(layer.diff_id)
        mounts = "" if is_there else next(iter(held.get(layer.diff_id, ())), "")
        planned.append(PlannedLayer(layer, "present" if is_there else "missing", layer.bytes, mounts))
    told = there.digest if there else ""
    return PublishPlan(source.image, layout.config, str(talk.reference), tuple(planned), tag, told, int(bool(there)), via=DIRECT)


def _is_direct(run: Run) -> bool:
    with suppress(RunError, LookupError, TypeError):
        return run.request["steps"][0]["options"].get("via") == DIRECT
    return False


@dataclass(frozen=True)
class _Seen:
    sizes: dict[str, int]
    """Bytes as stored, by diff id."""
    read: int
    tags: int | None
    is_all: bool
    """Every tag was looked into."""


def _look(talk: Conversation, target: Reference, there: Stored | None, wanted: set[str]) -> _Seen:
    """Read images of the repository until every layer is found: the target's own first, then the newest."""
    tags = None
    with suppress(RegistryDenied):  # some registries list tags for their keepers only
        tags = talk.tags()
    sizes, read = _sizes(talk, there), int(there is not None)
    others = [tag for tag in newest_first(tags or []) if tag != target.tag]
    for tag in others[: MOST_IMAGES - read]:
        if wanted <= sizes.keys():
            break
        sizes = _sizes(talk, talk.stored(tag)) | sizes
        read += 1
    is_all = tags is not None and len(others) <= MOST_IMAGES - int(there is not None)
    return _Seen(sizes, read, None if tags is None else len(tags), is_all)


def _sizes(talk: Conversation, image: Stored | None) -> dict[str, int]:
    if image is None:
        return {}
    sizes = talk.layer_sizes(image)
    for digest in image.images[: publishing.MOST_PLATFORMS]:
        sizes |= _sizes(talk, talk.stored(digest))
    return sizes


def _planned(layer: NamedLayer, seen: _Seen, elsewhere: dict[str, int]) -> PlannedLayer:
    if layer.diff_id in seen.sizes:
        return PlannedLayer(layer, "present", seen.sizes[layer.diff_id])
    return PlannedLayer(layer, "missing" if seen.is_all else "unknown", elsewhere.get(layer.diff_id))


def _tag(there: Stored | None, image_id: str) -> str:
    if there is None:
        return "new"
    return "same" if image_id in (there.config, there.digest) else "other"


def in_words(plan: PublishPlan) -> str:
    """What moves, for people."""
    moves = f"{len(plan.to_move)} of {len(plan.layers)} layers move to {plan.target}: {_size(plan)}."
    if not plan.to_move:
        moves = f"All {len(plan.layers)} layers are at {plan.target} already: only the manifest moves."
    tag = {
        "new": "The tag is new.",
        "same": f"The tag names this very image already ({plan.digest[:19]}).",
        "other": f"The tag names another image now ({plan.digest[:19]}) and will name this one.",
    }[plan.tag]
    return f"{moves}\n{tag}{_doubt(plan)}"


def _size(plan: PublishPlan) -> str:
    if plan.via == DIRECT:
        mounted = [planned for planned in plan.to_move if planned.mounts]
        held = f" ({as_size(sum(p.layer.bytes for p in mounted))} of it the registry has in {mounted[0].mounts})" if mounted else ""
        return f"{as_size(plan.unpacked_bytes)}, straight from the layout{held}"
    if plan.packed_bytes is not None:
        return f"at most {as_size(plan.packed_bytes)} packed, {as_size(plan.unpacked_bytes)} unpacked"
    return f"at most {as_size(plan.unpacked_bytes)}, less as packed"


def _doubt(plan: PublishPlan) -> str:
    if not plan.having("unknown"):
        return ""
    if plan.images_there is None:
        return "\nThe registry does not list its tags; layers marked unknown may be there already."
    return f"\nOnly {plan.images_read} of {plan.images_there} tags were looked into; layers marked unknown may be there already."
