"""A model into a store of models: the version looked at first, then only what the store lacks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core import lineage
from toolkit.core.content import folder_digest
from toolkit.core.files import as_size, folder_bytes, write_json
from toolkit.core.model_registry import ModelCard, ModelRegistry, Moved, Planned, RegisteredModel
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import PublishError, RunError, VersionTaken

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

MOST_PARTS = 24
"""An event tells of no more files than this."""
NEXT_TRIES = 5
"""So often somebody else may take the next number before us."""


def register(job: Job) -> dict[str, float]:
    """Register the content of a package; the same content again moves nothing, and leaves the version's number as it is."""
    folder, total = Path(job.options["content"]), 0
    digest = content_digest(job.bench, job.options)
    store = job.bench.cloud().model_registry(job.options["store"])
    card = card_of(job.bench, job.options)
    moved: list[Moved] = [Moved("", 0, 0)]

    def tell(now: Moved) -> None:
        moved[0] = now
        job.progress(now.done, now.total, "bytes", _line(now), _parts(now))

    planned, registered = _registered(store, folder, digest, card, tell)
    total = folder_bytes(folder)
    if planned.existing:
        job.progress(total, total, "bytes", f"{card.name}:{planned.version} holds this content already")
    write_json(job.run.folder / lineage.REGISTERED_FILE, asdict(registered))
    job.left("registered", registered.id, total, digest)
    sent = moved[0].done - moved[0].skipped
    return {"bytes": float(total), "bytes_sent": float(sent), "bytes_there": float(total - sent)}


def _registered(store: ModelRegistry, folder: Path, digest: str, card: ModelCard, tell) -> tuple[Planned, RegisteredModel]:
    """Where no version was asked for, one that somebody else took meanwhile is no error: the next one will do."""
    for tries_left in reversed(range(NEXT_TRIES)):
        planned = store.plan(card, digest)
        try:
            return planned, store.register(folder, digest, _with_version(card, planned.version), tell)
        except VersionTaken:
            if card.version or not tries_left:
                raise
    raise AssertionError("unreachable")


def _with_version(card: ModelCard, version: str) -> ModelCard:
    return ModelCard(card.name, version, card.type, card.description, card.tags, card.properties)


def look(bench: Workbench, options: dict) -> Planned:
    """What registering would do, before any byte moves anywhere.

    Raises:
        VersionTaken: the version is there with other content.
        PublishError: the store would not take it.
    """
    return bench.cloud().model_registry(options["store"]).plan(card_of(bench, options), content_digest(bench, options))


def card_of(bench: Workbench, options: dict) -> ModelCard:
    return ModelCard(
        options["model"],
        options.get("version", ""),
        options.get("type") or "custom_model",
        options.get("description", ""),
        options.get("tags") or {},
        lineage.facts_of(bench, options),
    )


def content_digest(bench: Workbench, options: dict) -> str:
    """The content's digest: what packaging wrote down, where nothing was written there since; else taken anew.

    Raises:
        PublishError: the content is not there, or not what was packaged.
    """
    folder, recorded = Path(options["content"]), options["content_sha256"]
    if not folder.is_dir() or not folder_bytes(folder):
        raise PublishError(f"There is nothing to register: {folder} is empty or gone.", "`edge package` the build again.")
    if recorded and _is_as_packaged(bench, options, folder):
        return recorded
    digest = folder_digest(folder)
    if recorded and digest != recorded:
        raise PublishError(
            f"The files in {folder} are not those that were packaged and tried.", "`edge package` the build again, then publish that."
        )
    return digest


def _is_as_packaged(bench: Workbench, options: dict, folder: Path) -> bool:
    """Sizes and times say that nothing was written, added or removed since packaging took the digest."""
    noted = _noted(bench, options)
    if noted is None or folder_bytes(folder) != noted[0]:
        return False
    return all(path.lstat().st_mtime <= noted[1] for path in (folder, *folder.rglob("*")))


def _noted(bench: Workbench, options: dict) -> tuple[int, float] | None:
    """How many bytes packaging counted, and when."""
    try:
        return _when_noted(bench.run(options["package"]), options["content_sha256"]) if options.get("package") else None
    except (RunError, OSError):
        return None


def _when_noted(package: Run, digest: str) -> tuple[int, float] | None:
    from toolkit.core import events as ev

    found = None
    with open(package.events_file, "rb") as lines:
        for line in lines:
            event = ev.from_line(line) if b"ArtifactWritten" in line else None
            if isinstance(event, ev.ArtifactWritten) and event.kind == "model" and event.sha256 == digest:
                found = event.bytes, event.at
    return found


def _line(now: Moved) -> str:
    there = sum(done == total for done, total in now.parts.values())
    kept = f", {as_size(now.skipped)} were there" if now.skipped else ""
    return f"{there} of {len(now.parts)} files there{kept}; {now.file}".removesuffix("; ")


def _parts(now: Moved) -> dict[str, list[float]]:
    """`[done, total]` of each file; of a great many, those that are not there yet and the largest."""
    chosen = list(now.parts)
    if len(chosen) > MOST_PARTS:
        order = sorted(chosen, key=lambda name: (now.parts[name][0] < now.parts[name][1], now.parts[name][1]), reverse=True)
        wanted = set(order[:MOST_PARTS])
        chosen = [name for name in chosen if name in wanted]
    return {name: list(now.parts[name]) for name in chosen}
