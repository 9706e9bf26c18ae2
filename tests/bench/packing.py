"""What packaging costs beside a bare `docker load` and beside copying the same bytes, and what it leaves on the disk."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path

from tests.bench.measure import Finding, Options, interleaved, run_child, spread
from tests.bench.synthetic import engine_and_base, finished_build
from toolkit import settings as settings_module
from toolkit.core import packaging
from toolkit.core.engine import LABEL, Image
from toolkit.core.hoststeps import Job
from toolkit.core.layers import Layer, image_archive
from toolkit.core.run import new_run
from toolkit.docker_engine import DockerEngine
from toolkit.wiring import make_workbench

MODEL_BYTES, ADAPTER_BYTES = 240_000_000, 10_000_000
TAG = "edge-toolkit/bench-pack:1"
LABELS = {f"{LABEL}.kind": "image"}


def measure(options: Options) -> list[Finding]:
    engine, base = engine_and_base()
    home = options.work / "home"
    bench = make_workbench(settings_module.load({"EDGE_HOME": str(home), "XDG_CONFIG_HOME": str(options.work)}), "docker")
    build = finished_build(bench.settings.runs, MODEL_BYTES, ADAPTER_BYTES)
    device = packaging.find(bench.settings.devices, "cpu")
    run = new_run(bench.settings.runs, "package", "bench", lambda _: packaging.request(build, device, "docker"))
    collected = _collected(home, Job(bench, run, "collect", run.request["steps"][0]["options"]))
    content = packaging.content_folder(run)
    layers = packaging.image_layers(content)
    image = _image_step(options, engine, base, content, layers)
    return [collected, image, *_left_behind(engine, base, layers, _size(layers))]


def _collected(home: Path, job: Job) -> Finding:
    before, began = disk_used(home), time.monotonic()
    packaging.collect(job)
    seconds, grown = time.monotonic() - began, disk_used(home) - before
    return Finding("Collect step", f"{seconds:.2f} s, {grown / 1e6:.2f} MB more on the disk", how="checks every hash, then hard links")


def _image_step(options: Options, engine: DockerEngine, base: Image, content: Path, layers: list[Layer]) -> Finding:
    archive = options.work / "image.tar"
    archive.write_bytes(b"".join(image_archive(base, layers, LABELS, TAG)))
    takers = {
        "image": lambda: _loaded(engine, base, layers),
        "load": lambda: _loaded_by_hand(engine, archive),
        "copy": lambda: _copied(content, options.work / "copy"),
    }
    taken = interleaved(takers, options.repeat)
    to_load, to_copy = (_ratio(taken["image"], taken[name]) for name in ("load", "copy"))
    reached = f"{to_load:.2f} times `docker load` of a ready archive, {to_copy:.1f} times a copy of the same bytes with fsync"
    how = "; ".join(f"{name} {spread(values)}" for name, values in taken.items())
    return Finding(f"Image step, {_size(layers) / 1e6:.0f} MB in {len(layers)} layers", reached, how=how)


def _size(layers: list[Layer]) -> int:
    return sum(layer.size for layer in layers)


def _ratio(measured: list[float], other: list[float]) -> float:
    """The median over the rounds."""
    return statistics.median(one / two for one, two in zip(measured, other, strict=True))


def _copied(content: Path, target: Path) -> float:
    """Seconds to copy the folder and have it on the disk."""
    began = time.monotonic()
    shutil.copytree(content, target)
    for path in target.rglob("*"):
        if path.is_file():
            with open(path, "rb") as written:
                os.fsync(written.fileno())
    seconds = time.monotonic() - began
    shutil.rmtree(target)
    return seconds


def _loaded(engine: DockerEngine, base: Image, layers: list[Layer]) -> float:
    """Seconds until the engine holds the image; the image is removed again."""
    began = time.monotonic()
    packaging.load_image(engine, base, layers, LABELS, TAG, lambda *_: None)
    seconds = time.monotonic() - began
    engine.untag(TAG)
    return seconds


def _loaded_by_hand(engine: DockerEngine, archive: Path) -> float:
    """Seconds that Docker's own command takes for the same image."""
    seconds = run_child(["docker", "load", "--input", str(archive)]).seconds
    engine.untag(TAG)
    return seconds


def _left_behind(engine: DockerEngine, base: Image, layers: list[Layer], size: int) -> list[Finding]:
    """How the engine's folder grows by the image, and by what is left once the image is removed."""
    root = Path(engine.facts().root)
    if not os.access(root, os.R_OK | os.X_OK):
        return [Finding("Disk of the engine", "not measured: its folder is not ours to read")]
    before = disk_used(root)
    packaging.load_image(engine, base, layers, LABELS, TAG, lambda *_: None)
    loaded = disk_used(root) - before
    engine.untag(TAG)
    left = disk_used(root) - before
    reached = f"{(loaded - size) / 1e6:+.1f} MB beside the image's own {size / 1e6:.0f} MB; {left / 1e6:+.1f} MB once it is removed"
    return [Finding("Disk of the engine", reached, how="blocks in use under its folder; other users of the engine show here too")]


def disk_used(folder: Path) -> int:
    """Bytes of disk that a folder takes; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.lstat(os.path.join(parent, name))
            except OSError:
                continue
            seen[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(seen.values())
