"""Layouts and the archives made of them on a real engine, and in containerd's own image store."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.layouts import laid_out, told_of
from tests.services.fixtures import missing
from toolkit.core import image_making
from toolkit.core.big_file import in_chunks, write_hashed
from toolkit.core.engine import LABEL, Image, ImageEngine
from toolkit.core.image_archive import archive_of, read_file
from toolkit.core.layers import Layer, LayerFile
from toolkit.core.oci_layout import Layout
from toolkit.core.saved_image import take_in
from toolkit.errors import EngineError

pytestmark = pytest.mark.engine

NAME = "edge-toolkit/test-archive"
LABELS = {f"{LABEL}.kind": "image", f"{LABEL}.recipe": "archive"}


@dataclass
class Bench:
    """A real engine, its base, and a folder of runs."""

    engine: ImageEngine
    base: Image
    runs: Path
    weights: bytes

    def lay_out(self, number: int, adapter: bytes) -> Layout:
        layers = [Layer("model", (LayerFile(self.weights, "/model/model.onnx.data"),))]
        layers += [Layer("adapter travel", (LayerFile(adapter, "/adapters/travel"),))]
        return laid_out(self.runs / f"{number:04d}" / "image", self.engine, self.base, layers, LABELS, f"{NAME}:{number}")

    def load(self, layout: Layout) -> int:
        """Take it into the engine as packaging does; how many bytes went there."""
        told = told_of(self.base, [])
        image_making.load(self.engine, layout, self.base, told)
        return told.loaded

    def forget(self, *layouts: Layout) -> None:
        for layout in layouts:
            self.engine.untag(layout.tag)


@pytest.fixture
def bench(docker_build_image: str, tmp_path: Path) -> Iterator[Bench]:
    from toolkit.docker_engine import DockerEngine, connect

    engine = DockerEngine(connect())
    base = engine.find(docker_build_image)
    assert base
    yield Bench(engine, base, tmp_path / "runs", os.urandom(300_000))
    for number in (1, 2):
        engine.untag(f"{NAME}:{number}")


def test_the_engine_knows_the_image_by_the_digest_of_the_layouts_configuration(bench):
    layout = bench.lay_out(1, b"one")
    bench.load(layout)
    image = bench.engine.find(layout.tag)
    assert (image.id, image.layers) == (layout.config, layout.diff_ids)


def test_what_the_engine_saves_of_it_is_the_very_layout(bench, tmp_path):
    from toolkit.core.oci_layout import Blobs

    layout = bench.lay_out(1, b"one")
    bench.load(layout)
    saved = take_in(bench.engine.save(layout.tag), Blobs(tmp_path / "again"))
    assert (saved.layers, saved.config) == (layout.diff_ids, layout.blob(layout.config).read_bytes())


def test_only_layers_that_the_engine_lacks_are_sent_to_it(bench):
    first, second = bench.lay_out(1, b"one" * 1000), bench.lay_out(2, b"two" * 1000)
    assert bench.load(first) >= 300_000
    assert bench.load(second) <= 3000 + 20_000
    assert bench.load(second) <= 20_000, "the second time nothing but lists"


def test_a_whole_file_is_taken_by_an_engine_that_has_forgotten_the_image(bench, tmp_path):
    layout = bench.lay_out(1, b"one")
    file = exported(layout, tmp_path / "whole.tar")
    bench.load(layout)
    bench.forget(layout)
    docker_load(file)
    assert bench.engine.find(layout.tag).id == layout.config


def test_a_delta_is_taken_where_its_base_image_is(bench, tmp_path):
    old, new = bench.lay_out(1, b"one"), bench.lay_out(2, b"two" * 1000)
    whole, delta = exported(old, tmp_path / "whole.tar"), exported(new, tmp_path / "delta.tar", old)
    assert delta.stat().st_size <= 3000 + 20_000
    docker_load(whole)
    docker_load(delta)
    assert bench.engine.find(new.tag).id == new.config
    assert read_file(delta).layers == new.diff_ids and read_file(delta).identity == new.config


def test_a_delta_without_its_base_image_says_in_the_engines_own_error_what_to_load_first(bench, tmp_path):
    old, new = bench.lay_out(1, b"one"), bench.lay_out(2, b"two")
    bench.forget(old, new)
    delta = exported(new, tmp_path / "delta.tar", old)
    said = docker_load(delta, expect=1)
    assert "this-is-a-delta_load-edge-toolkit_test-archive_1-first" in said
    assert bench.engine.find(new.tag) is None


def test_the_engine_refuses_a_file_with_a_damaged_layer(bench, tmp_path):
    layout = bench.lay_out(1, b"one")
    broken = layout.blob(layout.diff_ids[-1])
    content = bytearray(broken.read_bytes())
    content[1024] ^= 1  # the first byte of the adapter
    broken.chmod(0o644)
    broken.write_bytes(content)
    with pytest.raises(EngineError, match="invalid diffID"):
        bench.engine.load(in_chunks(archive_of(layout).pieces()))


def exported(layout: Layout, file: Path, since: Layout | None = None) -> Path:
    known = set(layout.diff_ids) & set(since.diff_ids) if since else ()
    archive = archive_of(layout, known, since.tag if since else "")
    write_hashed(file, archive.pieces(), archive.bytes)
    assert file.stat().st_size == archive.bytes
    return file


def docker_load(file: Path, expect: int = 0) -> str:
    """As a person does it."""
    done = subprocess.run(["docker", "load", "--input", str(file)], capture_output=True, text=True)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def namespace() -> Iterator[str]:
    """A containerd namespace of one's own."""
    socket = next(
        (path for path in ("/run/containerd/containerd.sock", "/var/run/docker/containerd/containerd.sock") if os.path.exists(path)), ""
    )
    if not shutil.which("ctr") or not socket:
        missing("containerd with its ctr", "install Debian's containerd; tests/services/up.sh starts it")
    name = f"edge-test-{uuid.uuid4().hex[:8]}"
    yield f"{socket} {name}"
    for image in ctr(f"{socket} {name}", "images", "ls", "-q").split():
        ctr(f"{socket} {name}", "images", "rm", "--sync", image)
    subprocess.run(["ctr", "-a", socket, "namespaces", "rm", name], capture_output=True)


def ctr(where: str, *arguments: str) -> str:
    socket, name = where.split()
    done = subprocess.run(["ctr", "-a", socket, "-n", name, *arguments], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_containerd_takes_a_whole_file_by_its_name_and_a_delta_after_it(bench, namespace, tmp_path):
    old, new = bench.lay_out(1, b"one"), bench.lay_out(2, b"two")
    whole, delta = exported(old, tmp_path / "whole.tar"), exported(new, tmp_path / "delta.tar", old)
    ctr(namespace, "images", "import", "--no-unpack", str(whole))
    ctr(namespace, "images", "import", "--no-unpack", str(delta))
    listed = ctr(namespace, "images", "ls")
    for layout in (old, new):
        [line] = [line for line in listed.splitlines() if line.startswith(f"docker.io/{layout.tag}")]
        assert layout.manifest in line
        assert f"docker.io/{layout.tag}" in ctr(namespace, "images", "check", f"name==docker.io/{layout.tag}")
    assert "complete (" in ctr(namespace, "images", "check")
    assert "incomplete" not in ctr(namespace, "images", "check")
