"""Packaged images on a real engine and a real registry: their layers, what a push would move, what a device fetches, a file of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tiny
from tests.layouts import packed
from tests.services.fixtures import Registry, base_image, docker_engine_available, registry  # noqa: F401  fixtures
from toolkit.core import exporting, oci_layout, reference
from toolkit.core.engine import LABEL, Credentials, Image
from toolkit.core.hoststeps import HostSteps
from toolkit.core.image_layers import compared, layers_of
from toolkit.core.layers import Layer, LayerFile
from toolkit.core.publish_plan import PublishPlan, make_plan
from toolkit.core.publish_start import ENGINE, PublishWish, make_request
from toolkit.core.registry import Conversation
from toolkit.core.run import Run, new_run
from toolkit.core.stock import remove, stock
from toolkit.core.workbench import Workbench
from toolkit.docker_engine import connect

pytestmark = pytest.mark.engine


@dataclass
class Shelf:
    """A bench over the real engine, with images of few bytes."""

    bench: Workbench
    base: Image
    registry: Registry
    tags: list[str]

    @property
    def engine(self):
        return self.bench.image_engine()

    def add(self, tag: str, **adapters: bytes) -> str:
        """An image with these adapters."""
        layers = [Layer("model", (LayerFile(b"weights" * 5000, "/model/model.onnx.data"),))]
        layers += [Layer(f"adapter {name}", (LayerFile(content, f"/adapters/{name}"),)) for name, content in adapters.items()]
        layers += [Layer("configuration", (LayerFile(b"{}", "/etc/edge/device.json"),))]
        name = f"edge-toolkit/test-shelf:{tag}"
        labels = {f"{LABEL}.kind": "image", f"{LABEL}.recipe": "shelf", f"{LABEL}.device": "cpu"}
        self.tags.append(name)
        packed(self.folder(tag), self.engine, self.base, layers, labels, name)
        return name

    def folder(self, tag: str) -> Path:
        """Of the layout of the image with this tag."""
        return self.bench.settings.runs / f"{tag}-layout" / "image"

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.registry.user, self.registry.password)

    def plan(self, name: str) -> PublishPlan:
        return make_plan(self.bench, name, f"{self.registry.address}/shelf", self.credentials)

    def push(self, name: str) -> Run:
        target = reference.parse(f"{self.registry.address}/shelf", name.rpartition(":")[2])
        asked = make_request(self.bench, PublishWish(name, str(target), "edge", ENGINE))
        run = new_run(self.bench.settings.runs, "publish", "shelf", lambda _: asked)
        self.tags.append(str(target))
        self.do(run, {"username": self.registry.user, "password": self.registry.password})
        return run

    def do(self, run: Run, secrets: dict) -> None:
        assert HostSteps(self.bench, run, secrets).all_done(), run.state().problem


@pytest.fixture
def shelf(tmp_path: Path, base_image: str, registry: Registry) -> Iterator[Shelf]:  # noqa: F811
    bench = tiny.docker_bench(tmp_path / "home", base_image)
    shelf = Shelf(bench, bench.image_engine().find(base_image), registry, [])
    yield shelf
    for tag in shelf.tags:
        shelf.engine.untag(tag)


def test_the_layers_of_an_image_have_names_and_sizes_that_add_up(shelf):
    name = shelf.add("1", travel=os.urandom(3000))
    layers = layers_of(shelf.engine, name)
    assert [layer.name for layer in layers][-3:] == ["model", "adapter travel", "configuration"]
    assert {layer.group for layer in layers[:-3]} == {"runtime"}
    assert [layer.bytes for layer in layers[-3:]] == [35_000, 3000, 2]
    image = shelf.engine.find(name)
    assert [layer.diff_id for layer in layers] == list(image.layers)
    assert sum(layer.bytes for layer in layers) == image.bytes


def test_a_first_push_moves_every_layer_and_a_second_only_what_changed(shelf):
    first, same = shelf.add("1", persona=os.urandom(3000), travel=b"t"), b"t"
    before = shelf.plan(first)
    assert {planned.status for planned in before.layers} == {"missing"} and before.tag == "new"
    run = shelf.push(first)
    parts = run.state().steps["push"].parts
    assert list(parts) == [planned.layer.name for planned in before.layers]
    assert all(done == total for done, total in parts.values())
    after = shelf.plan(first)
    assert (after.tag, after.to_move) == ("same", ())
    assert sum(planned.packed for planned in after.layers) == run.state().artifacts[-1].bytes
    planned = shelf.plan(shelf.add("2", persona=os.urandom(3000), travel=same))
    assert [p.layer.name for p in planned.having("missing")] == ["adapter persona"]
    assert planned.tag == "new" and planned.unpacked_bytes == 3000


def test_a_device_fetches_again_what_lies_above_a_changed_layer(shelf):
    names = [shelf.add(tag, persona=os.urandom(3000), travel=b"the same") for tag in ("1", "2")]
    old, new = (layers_of(shelf.engine, name) for name in names)
    told = compared(new, old, names[0])
    assert [layer.name for layer in told.pulled] == ["adapter persona", "adapter travel", "configuration"]
    for name in names:
        shelf.push(name)
    for tag in shelf.tags:
        shelf.engine.untag(tag)
    fetched = [_fetched(shelf, tag) for tag in ("1", "2")]
    if _keeps_layers_by_chain():
        assert fetched[1] == len(told.pulled), "an engine with the classic store"
    else:
        assert fetched[1] == sum(change.is_new for change in told.layers)


def _fetched(shelf: Shelf, tag: str) -> int:
    """How many layers the engine downloads."""
    auth = {"username": shelf.registry.user, "password": shelf.registry.password}
    lines = list(connect().api.pull(f"{shelf.registry.address}/shelf", tag=tag, stream=True, decode=True, auth_config=auth))
    assert not [line for line in lines if "error" in line]
    return len({line["id"] for line in lines if line.get("status") == "Pull complete"})


def _keeps_layers_by_chain() -> bool:
    return "io.containerd.snapshotter" not in str(connect().info().get("DriverStatus"))


def test_an_exported_file_is_loaded_as_the_very_same_image_wherever_it_came_from(shelf, tmp_path):
    name = shelf.add("1", travel=os.urandom(3000))
    image, layout = shelf.engine.find(name), oci_layout.read(shelf.folder("1"))
    sources = [exporting.source_in(shelf.engine, name, image, "shelf"), exporting.source_of(layout, "shelf")]
    files = [export(shelf, source, tmp_path / f"{number}.tar") for number, source in enumerate(sources)]
    assert files[0].read_bytes() == files[1].read_bytes(), "the engine's and the layout's"
    shelf.engine.untag(name)
    assert shelf.engine.find(name) is None
    shelf.engine.load([files[0].read_bytes()])
    assert shelf.engine.find(name).id == image.id == layout.config


def export(shelf: Shelf, source: exporting.Source, file: Path) -> Path:
    planned = exporting.plan(source)
    run = new_run(shelf.bench.settings.runs, "export", "shelf", lambda _: exporting.request(planned, file, False))
    shelf.do(run, {})
    [archive] = run.state().artifacts
    assert (archive.path, archive.bytes) == (str(file), file.stat().st_size) and not file.with_name(f"{file.name}.part").exists()
    return file


def test_the_digest_of_the_configuration_that_is_pushed_is_the_layouts(shelf):
    name = shelf.add("1", travel=os.urandom(3000))
    shelf.push(name)
    with Conversation(reference.parse(f"{shelf.registry.address}/shelf", "1"), shelf.credentials) as talk:
        assert talk.stored().config == oci_layout.read(shelf.folder("1")).config


def test_a_removed_image_is_gone_under_all_its_names(shelf):
    name = shelf.add("1", travel=os.urandom(3000))
    shelf.engine.tag(name, "edge-toolkit/test-shelf:other")
    shelf.tags.append("edge-toolkit/test-shelf:other")
    item = stock(shelf.bench).find(name)
    remove(shelf.bench, item)
    assert shelf.engine.find(item.identity) is None


def test_an_image_that_is_not_there_has_no_layers(shelf):
    assert shelf.engine.layers("edge-toolkit/test-shelf:never") == []
