"""The compute instance of Azure ML that this may be: its disks, and its idle shutdown."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from toolkit.core import guardian
from toolkit.core.checks.disk import planned
from toolkit.core.files import as_size, folder_bytes
from toolkit.core.finding import Finding, Scene
from toolkit.core.guardian import Instance
from toolkit.core.run import Run
from toolkit.errors import ToolkitError

SUBJECT = "compute instance"


def compute_instance(scene: Scene) -> Finding:
    """What would end a run here, what its small disk will hold, and where there is more room."""
    instance = guardian.instance_here(scene.environ, scene.root, scene.is_mount)
    if instance is None:
        return Finding(SUBJECT, "ok", "this is none of Azure ML's")
    bench = scene.bench
    idle = guardian.idle_words(instance, guardian.idle_minutes(bench, instance))
    under_way = _under_way(scene)
    facts = scene.engine_or_none()
    room = guardian.move_words(bench, instance, facts.root if facts else "")
    said, is_short = _system_disk(scene, instance)
    seen = [instance.name, said, idle, f"{under_way} is under way" if under_way else "", guardian.place_words(bench, instance)]
    fixes = [guardian.idle_fix(instance)] if idle and under_way else []
    fixes += [room or "`edge clean` shows what can go."] if room or is_short else []
    is_bad = (idle and under_way) or is_short or instance.is_shared(bench.settings.home)
    return Finding(SUBJECT, "warning" if is_bad else "ok", "; ".join(filter(None, seen)), " ".join(fixes))


def _system_disk(scene: Scene, instance: Instance) -> tuple[str, bool]:
    """What is on the system disk and will be after the next run; and whether too little is left then."""
    settings, disk = scene.bench.settings, scene.bench.disk(scene.root)
    plans, _ = planned(scene)
    there = {place: need for place, need in plans.items() if not instance.is_temporary(Path(place)) and not instance.is_shared(Path(place))}
    kept = {}
    if str(settings.home) in there:
        kept = {name: folder_bytes(folder) for name, folder in _folders(scene).items() if folder.is_dir()}
    held = ", ".join(f"{name} {as_size(size)}" for name, size in kept.items() if size)
    left = disk.free - sum(there.values())
    said = f"{as_size(disk.free)} of {as_size(disk.total)} free on its system disk" + (f" ({held})" if held else "")
    if there:
        said += f", {as_size(left)} after the next run" if left > 0 else ", too little for the next run"
    return said, bool(there) and left < guardian.SPARE_BYTES


def _folders(scene: Scene) -> dict[str, Path]:
    settings = scene.bench.settings
    return {"runs": settings.runs, "models": settings.models, "cache": settings.cache}


def _under_way(scene: Scene) -> str:
    """The newest run that something drives now."""

    def is_driven(run: Run) -> bool:
        with suppress(ToolkitError, OSError):
            return run.state().status == "running"
        return False

    return next((run.id for run in reversed(scene.bench.runs()) if is_driven(run)), "")
