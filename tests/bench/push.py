"""What moves when one of two adapters is trained again and the image pushed: bytes sent, and bytes the registry keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.counting_proxy import CountingProxy
from tests.bench.measure import Finding, Options, Skipped
from tests.bench.synthetic import ADAPTERS, adapter_file, engine_and_base, finished_build, write_adapter, write_manifest
from tests.layouts import packed
from tests.services.fixtures import Registry, free_port, state
from toolkit import settings as settings_module
from toolkit.core import packaging, reference
from toolkit.core.engine import LABEL, Image
from toolkit.core.hoststeps import HostSteps, Job
from toolkit.core.image_making import LAYOUT_FOLDER
from toolkit.core.publish_start import ENGINE, PublishWish, make_request
from toolkit.core.run import Run, new_run
from toolkit.core.workbench import Workbench
from toolkit.docker_engine import DockerEngine
from toolkit.wiring import make_workbench

MODEL_BYTES, ADAPTER_BYTES = 60_000_000, 10_000_000
SLACK = 20_000
"""For manifest, configuration and HTTP."""


@dataclass(frozen=True)
class Moved:
    """One push."""

    sent: int
    """Bytes the engine sent to the registry, headers and all."""
    stored: int
    """Bytes the registry's blobs grew by."""
    blobs: int
    """Blobs that were new to it."""


@dataclass(frozen=True)
class Place:
    """Everything a push needs."""

    bench: Workbench
    engine: DockerEngine
    base: Image
    registry: Registry
    proxy: CountingProxy


def measure(options: Options) -> list[Finding]:
    engine, base = engine_and_base()
    with _registry(options.work / "registry") as (registry, proxy):
        bench = make_workbench(
            settings_module.load({"EDGE_HOME": str(options.work / "home"), "XDG_CONFIG_HOME": str(options.work)}), "docker"
        )
        place = Place(bench, engine, base, registry, proxy)
        tags: list[str] = []
        try:
            first, again, retrained, retrained_bytes = _three_pushes(place, tags)
        finally:
            for tag in tags:
                engine.untag(tag)
    limit = retrained_bytes + SLACK
    sizes = f"base {base.bytes / 1e6:.0f} MB, model {MODEL_BYTES / 1e6:.0f} MB, {len(ADAPTERS)} adapters of {ADAPTER_BYTES / 1e6:.0f} MB, random bytes"
    return [
        Finding("First push of the image", _told(first), how=sizes),
        Finding("The same image again", _told(again), "0 new blobs", again.blobs == 0),
        Finding(
            "One adapter trained again, packaged, pushed: bytes sent",
            _told(retrained),
            f"adapter + 20 kB = {limit:,} bytes",
            retrained.sent <= limit,
        ),
        Finding("... and bytes the registry grew by", f"{retrained.stored:,} bytes", f"{limit:,} bytes", retrained.stored <= limit),
    ]


@contextmanager
def _registry(folder: Path) -> Iterator[tuple[Registry, CountingProxy]]:
    if state().get("registry") != "yes":
        raise Skipped("there is no docker-registry; tests/services/up.sh installs it")
    registry = Registry(folder, free_port())
    registry.start()
    proxy = CountingProxy(("127.0.0.1", registry.port))
    try:
        yield registry, proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        registry.kill()


def _three_pushes(place: Place, tags: list[str]) -> tuple[Moved, Moved, Moved, int]:
    build = finished_build(place.bench.settings.runs, MODEL_BYTES, ADAPTER_BYTES)
    first = _pushed(place, build, "1", tags)
    again = _pushed(place, build, "2", tags)
    write_adapter(adapter_file(build, ADAPTERS[0]), ADAPTER_BYTES)
    write_manifest(build)
    return first, again, _pushed(place, build, "3", tags), adapter_file(build, ADAPTERS[0]).stat().st_size


def _pushed(place: Place, build: Run, tag: str, tags: list[str]) -> Moved:
    """Package the build as it is now and publish it, by the toolkit's own steps."""
    image = _packaged(place, build, f"edge-toolkit/bench-push:{tag}", tags)
    target = reference.parse(f"{place.proxy.address}/bench:{tag}")
    tags.append(str(target))
    asked = make_request(place.bench, PublishWish(image.tags[0], str(target), place.registry.user, ENGINE))
    run = new_run(place.bench.settings.runs, "publish", "bench", lambda _: asked)
    sent, stored, blobs = place.proxy.sent, place.registry.stored_bytes(), _blobs(place.registry)
    if not HostSteps(place.bench, run, {"password": place.registry.password}).all_done():
        raise RuntimeError(run.state().problem)
    return Moved(place.proxy.sent - sent, place.registry.stored_bytes() - stored, len(_blobs(place.registry) - blobs))


def _packaged(place: Place, build: Run, tag: str, tags: list[str]) -> Image:
    device = packaging.find(place.bench.settings.devices, "cpu")
    run = new_run(place.bench.settings.runs, "package", "bench", lambda _: packaging.request(build, device, "docker"))
    packaging.collect(Job(place.bench, run, "collect", run.request["steps"][0]["options"]))
    layers = packaging.image_layers(packaging.content_folder(run))
    tags.append(tag)
    return packed(run.folder / LAYOUT_FOLDER, place.engine, place.base, layers, {f"{LABEL}.kind": "image"}, tag)


def _blobs(registry: Registry) -> set[str]:
    return {path.parent.name for path in (registry.storage / "docker/registry/v2/blobs").rglob("data")}


def _told(moved: Moved) -> str:
    return f"{moved.sent:,} bytes sent, {moved.blobs} new blobs, registry + {moved.stored:,} bytes"
