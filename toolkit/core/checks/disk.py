"""Whether the disks have room for what is to come: at home, and where the engine keeps its images."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from toolkit.core.checks.engine import has_build_image
from toolkit.core.files import as_size
from toolkit.core.finding import Finding, Scene
from toolkit.errors import ToolkitError

SAMPLE_RUN_BYTES = 1_520_000_000
"""What the forecast of the sample's recipe says."""
SAMPLE_MODEL_BYTES = 500_000_000
"""What fetching the sample model takes for a while."""
BUILD_IMAGE_BYTES = {"cpu": 4_300_000_000, "cuda12": 22_200_000_000, "cuda13": 22_200_000_000}
"""The build image and the stage that it is made from, as the engine counted them on x86-64: 1.9 and 2.4 GB, 8.8 and 13.4 GB."""
PACKAGE_SHARE = 0.3
"""Of a run's forecast: the sample's package is 0.32 GB with its runtime, its runs are forecast at 1.52 GB; unpacked beside packed."""
FIX = "`edge clean` shows what can go; EDGE_HOME moves runs and cache to another disk."


def disk(scene: Scene) -> Finding:
    plans, whose = planned(scene)
    free = {place: scene.bench.disk(Path(place)).free for place in plans}
    needed_there = _by_disk(plans)
    short = [place for place in plans if free[place] < needed_there[_disk_id(place)]]
    seen = ", ".join(f"{as_size(free[place])} free at {place} (next run: {as_size(need)})" for place, need in plans.items())
    said = f"{seen}; reckoned by {whose}"
    if not short:
        return Finding("disk", "ok", said)
    level = "problem" if free[short[0]] < SAMPLE_RUN_BYTES else "warning"
    return Finding("disk", level, f"{short[0]} is too small for the next run: {said}", FIX)


def planned(scene: Scene) -> tuple[dict[str, int], str]:
    """What the next run will need at home and at the engine's, and whose forecast that is reckoned by."""
    run, whose = _largest_run(scene)
    plans = {str(scene.bench.settings.home): run + (0 if _has_models(scene) else SAMPLE_MODEL_BYTES)}
    facts = scene.engine_or_none()
    if facts and Path(facts.root).exists():
        plans[facts.root] = plans.get(facts.root, 0) + int(run * PACKAGE_SHARE) + _build_image_bytes(scene)
    return plans, whose


def _largest_run(scene: Scene) -> tuple[int, str]:
    """(bytes, whose) the largest forecast among the builds of this home; the sample's where there is none."""
    largest, whose = SAMPLE_RUN_BYTES, "the sample's recipe"
    for run in scene.bench.runs():
        try:
            forecast = run.request.get("forecast_bytes", 0)
        except ToolkitError:
            continue
        if isinstance(forecast, int) and forecast > largest:
            largest, whose = forecast, run.id
    return largest, whose


def _has_models(scene: Scene) -> bool:
    models = scene.bench.settings.models
    return models.is_dir() and any(models.iterdir())


def _build_image_bytes(scene: Scene) -> int:
    """What making the build image takes; 0 where it is there."""
    try:
        return 0 if has_build_image(scene) else BUILD_IMAGE_BYTES[scene.bench.flavour().flavour]
    except ToolkitError:
        return BUILD_IMAGE_BYTES["cpu"]


def _disk_id(place: str) -> int:
    path = Path(place)
    while not path.exists():
        path = path.parent
    return os.stat(path).st_dev


def _by_disk(plans: dict[str, int]) -> Counter[int]:
    """Bytes that will be needed of each disk; two places may share one."""
    needed: Counter[int] = Counter()
    for place, bytes_needed in plans.items():
        needed[_disk_id(place)] += bytes_needed
    return needed
