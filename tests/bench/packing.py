"""What packaging costs beside a bare copy of the same bytes and a bare `docker load`, what it leaves on the disk, and what a change moves."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import time
from pathlib import Path

from tests.bench.measure import Finding, Options, interleaved, run_child, spread
from tests.bench.synthetic import ADAPTERS, adapter_file, engine_and_base, finished_build, write_adapter, write_manifest
from tests.layouts import told_of
from toolkit import settings as settings_module
from toolkit.core import image_making, packaging
from toolkit.core.big_file import write_hashed
from toolkit.core.engine import LABEL, Image
from toolkit.core.hoststeps import Job
from toolkit.core.image_archive import archive_of
from toolkit.core.image_making import Wanted
from toolkit.core.layers import Layer
from toolkit.core.oci_layout import Layout
from toolkit.core.run import Run, new_run
from toolkit.core.workbench import Workbench
from toolkit.docker_engine import DockerEngine
from toolkit.wiring import make_workbench

MODEL_BYTES, ADAPTER_BYTES = 1_000_000_000, 10_000_000
TAG = "edge-toolkit/bench-pack:1"
LABELS = {f"{LABEL}.kind": "image"}
WRITE_SHARE = 0.8
"""Of the disk's own speed, at least."""
SLACK = 20_000
"""For lists, configuration and tar headers."""
_NUMBERS = itertools.count()


def measure(options: Options) -> list[Finding]:
    engine, base = engine_and_base()
    home = options.work / "home"
    bench = make_workbench(settings_module.load({"EDGE_HOME": str(home), "XDG_CONFIG_HOME": str(options.work)}), "docker")
    build = finished_build(bench.settings.runs, MODEL_BYTES, ADAPTER_BYTES)
    run, collected = _collected(bench, build)
    content = packaging.content_folder(run)
    layers = packaging.image_layers(content)
    written = _write_speed(options, engine, base, content, layers)
    try:
        return [collected, written, *_taken_in(options, engine, base, layers), *_changes(options, engine, base, bench, build, layers)]
    finally:
        engine.untag(TAG)


def _lay_out(folder: Path, engine: DockerEngine, base: Image, layers: list[Layer], shared: Path | None = None) -> tuple[Layout, int]:
    """A layout, and how many bytes were written for it; blobs of the runs in `shared` are linked."""
    told = told_of(base, layers)
    blobs = image_making.earlier_blobs(shared) if shared else {}
    return image_making.lay_out(folder, engine, Wanted(base, layers, LABELS, TAG), blobs, told), told.written


def _collected(bench: Workbench, build: Run) -> tuple[Run, Finding]:
    device = packaging.find(bench.settings.devices, "cpu")
    run = new_run(bench.settings.runs, "package", "bench", lambda _: packaging.request(build, device, "docker"))
    home = bench.settings.home
    before, began = disk_used(home), time.monotonic()
    packaging.collect(Job(bench, run, "collect", run.request["steps"][0]["options"]))
    seconds, grown = time.monotonic() - began, disk_used(home) - before
    told = f"{seconds:.2f} s, {grown / 1e6:.2f} MB more on the disk"
    return run, Finding("Collect step", told, how="checks every hash, then hard links")


def _write_speed(options: Options, engine: DockerEngine, base: Image, content: Path, layers: list[Layer]) -> Finding:
    """The model's layers as blobs, hashed and on the disk, beside a copy of the same files that is on the disk too."""
    first = options.work / "first" / "runtime" / "image"
    _lay_out(first, engine, base, [])  # the runtime's layers, which are only linked from here on
    takers = {
        "layout": lambda: _laid_out(options.work / f"layout{next(_NUMBERS)}", engine, base, layers, first.parent.parent),
        "copy": lambda: _copied(content, options.work / "copy"),
    }
    taken = interleaved(takers, max(options.repeat, 5))
    share = 1 / _ratio(taken["layout"], taken["copy"])
    rates = "; ".join(f"{name} {spread([_size(layers) / 1e9 / value for value in values], 'GB/s')}" for name, values in taken.items())
    return Finding(
        f"Layout on disk, {_size(layers) / 1e6:.0f} MB in {len(layers)} layers, hashed and synced",
        f"{share:.0%} of the speed of a copy of the same files with fsync",
        f"{WRITE_SHARE:.0%}",
        share >= WRITE_SHARE,
        how=rates,
    )


def _laid_out(folder: Path, engine: DockerEngine, base: Image, layers: list[Layer], shared: Path) -> float:
    began = time.monotonic()
    _lay_out(folder, engine, base, layers, shared)
    seconds = time.monotonic() - began
    shutil.rmtree(folder)
    return seconds


def _taken_in(options: Options, engine: DockerEngine, base: Image, layers: list[Layer]) -> list[Finding]:
    before = disk_used(options.work)
    layout, _ = _lay_out(options.work / "runs" / "taken" / "image", engine, base, layers)
    grown = disk_used(options.work) - before
    file = options.work / "image.tar"
    archive = archive_of(layout)
    takers = {
        "engine": lambda: _loaded(engine, base, layout),
        "docker load": lambda: _loaded_by_hand(engine, file),
        "export": lambda: _exported(layout, file),
    }
    _exported(layout, file)
    taken = interleaved(takers, options.repeat)
    by_hand = _ratio(taken["engine"], taken["docker load"])
    how = "; ".join(f"{name} {spread(values)}" for name, values in taken.items())
    file.unlink()
    return [
        Finding("Disk that the layout takes", f"{grown / 1e6:.1f} MB for layers of {layout.bytes / 1e6:.1f} MB; no other copy stays"),
        Finding(
            "The engine takes it in", f"{by_hand:.2f} times `docker load` of a ready file", how=f"{how}; file {archive.bytes / 1e6:.0f} MB"
        ),
        *_left_behind(engine, base, layout, _size(layers)),
    ]


def _exported(layout: Layout, file: Path) -> float:
    began = time.monotonic()
    archive = archive_of(layout)
    write_hashed(file, archive.pieces(), archive.bytes)
    return time.monotonic() - began


def _changes(options: Options, engine: DockerEngine, base: Image, bench: Workbench, build: Run, layers: list[Layer]) -> list[Finding]:
    """Packaged again unchanged, and with the last adapter trained again."""
    runs = options.work / "runs"
    first = runs / "taken" / "image"
    again, written = _lay_out(runs / "again" / "image", engine, base, layers, runs)
    loaded = _bytes_loaded(engine, base, again)
    write_adapter(adapter_file(build, ADAPTERS[-1]), ADAPTER_BYTES)
    write_manifest(build)
    retrained = packaging.image_layers(packaging.content_folder(_collected(bench, build)[0]))
    new, new_written = _lay_out(runs / "retrained" / "image", engine, base, retrained, runs)
    new_loaded = _bytes_loaded(engine, base, new)
    adapter = adapter_file(build, ADAPTERS[-1]).stat().st_size
    delta = archive_of(new, set(again.diff_ids) & set(new.diff_ids), f"{first.parent.name}").bytes
    limit = f"adapter + 20 kB = {adapter + SLACK:,} bytes"
    return [
        Finding("Packaged again unchanged", f"{written:,} bytes written, {loaded:,} sent to the engine", "0 bytes written", written == 0),
        Finding(
            "One adapter trained again, packaged",
            f"{new_written:,} bytes written, {new_loaded:,} sent to the engine",
            limit,
            max(new_written, new_loaded) <= adapter + SLACK,
        ),
        Finding(
            "... its delta file", f"{delta:,} bytes", limit, delta <= adapter + SLACK, how=f"the whole one has {archive_of(new).bytes:,}"
        ),
    ]


def _bytes_loaded(engine: DockerEngine, base: Image, layout: Layout) -> int:
    told = told_of(base, [])
    image_making.load(engine, layout, base, told)
    return told.loaded


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


def _loaded(engine: DockerEngine, base: Image, layout: Layout) -> float:
    """Seconds until the engine holds the image; the image is removed again."""
    began = time.monotonic()
    _bytes_loaded(engine, base, layout)
    seconds = time.monotonic() - began
    engine.untag(TAG)
    return seconds


def _loaded_by_hand(engine: DockerEngine, file: Path) -> float:
    """Seconds that Docker's own command takes for the same image."""
    seconds = run_child(["docker", "load", "--input", str(file)]).seconds
    engine.untag(TAG)
    return seconds


def _left_behind(engine: DockerEngine, base: Image, layout: Layout, size: int) -> list[Finding]:
    """How the engine's folder grows by the image, and by what is left once the image is removed. The image stays for what follows."""
    root = Path(engine.facts().root)
    if not os.access(root, os.R_OK | os.X_OK):
        _bytes_loaded(engine, base, layout)
        return [Finding("Disk of the engine", "not measured: its folder is not ours to read")]
    before = disk_used(root)
    _bytes_loaded(engine, base, layout)
    loaded = disk_used(root) - before
    engine.untag(TAG)
    left = disk_used(root) - before
    _bytes_loaded(engine, base, layout)
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
