"""An image as a file: from the layout without an engine, else from the engine; whole or only what a device lacks; nothing half-written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes import FakeEngine
from tests.layouts import laid_out, told_of
from tests.paper_engine import PaperEngine
from toolkit.core import events as ev
from toolkit.core import exporting, image_making, lifecycle
from toolkit.core.engine import LABEL, Image
from toolkit.core.exporting import default_name, file_for
from toolkit.core.hoststeps import HostSteps
from toolkit.core.image_archive import MISSING, SINCE, read_file
from toolkit.core.layers import Layer, LayerFile
from toolkit.core.oci_layout import Layout
from toolkit.core.run import Run, new_run
from toolkit.core.targets import plan_export, start_export
from toolkit.core.workbench import Workbench
from toolkit.errors import DiskError, EngineMissing, PublishError
from toolkit.settings import Settings

NAME = "edge-toolkit/travel-cpu"
ADAPTER = 50_000


@dataclass
class Desk:
    """A home with an engine of paper, and images packaged in it."""

    bench: Workbench
    engine: PaperEngine
    base: Image
    weights: bytes

    def package(self, number: int, *, model: bytes = b"", travel: bytes = b"t", persona: bytes = b"p") -> Layout:
        """A finished packaging run with its layout, the image in the engine."""
        layers = [Layer("model", (LayerFile(model or self.weights, "/model/model.onnx.data"),))]
        layers += [
            Layer(f"adapter {n}", (LayerFile(c * ADAPTER, f"/adapters/{n}"),)) for n, c in (("persona", persona), ("travel", travel))
        ]
        tag = f"{NAME}:{number:04d}"
        options = {"build": "0001-build-travel", "device": "cpu", "engine": "docker", "tag": tag}
        asked = {"engine": "docker", "recipe": {"name": "travel"}, "steps": [{"name": "image", "kind": "image", "options": options}]}
        run = new_run(self.bench.settings.runs, "package", "travel", lambda _: asked)
        told = told_of(self.base, layers)
        layout = laid_out(
            run.folder / "image", self.engine, self.base, layers, {f"{LABEL}.kind": "image", f"{LABEL}.recipe": "travel"}, tag, told
        )
        image = image_making.load(self.engine, layout, self.base, told)
        run.append(ev.RunRequested(run=run.id, kind="package", steps=("image",)))
        run.append(ev.ArtifactWritten(step="image", kind="image", path=tag, bytes=1, sha256=image.id.removeprefix("sha256:")))
        run.append(ev.RunFinished(seconds=1))
        return layout

    def export(self, name: str, file: Path, **more) -> Run:
        run = start_export(self.bench, name, file, **more)
        assert HostSteps(self.bench, run, {}).all_done(), run.state().problem
        return run

    def without_layouts(self) -> None:
        for folder in self.bench.settings.runs.glob("*/image"):
            shutil.rmtree(folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    driver, engine = FakeEngine(), PaperEngine()
    base = engine.add_base("edge-toolkit/runtime-cpu:1", [b"python", b"server"])
    bench = Workbench(
        settings=Settings(home=tmp_path / "home"),
        build_engine=lambda name: driver,
        host_driver=lambda secrets: driver,
        image_engine=lambda: engine,
        local_chat=lambda: engine,
        fetch_asset=lambda uri, folder, say: None,
    )
    return Desk(bench, engine, base, os.urandom(200_000))


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}


def fresh_engine(*files: Path) -> PaperEngine:
    """A device that has loaded these files."""
    device = PaperEngine()
    for file in files:
        device.load([file.read_bytes()])
    return device


def no_engine() -> PaperEngine:
    raise EngineMissing("No Docker engine answers here.")


def engineless(desk: Desk) -> Desk:
    bench = desk.bench
    return Desk(
        Workbench(bench.settings, bench.build_engine, bench.host_driver, no_engine, bench.local_chat, bench.fetch_asset),
        desk.engine,
        desk.base,
        desk.weights,
    )


def test_the_file_is_whole_has_its_name_once_it_is_and_its_sha_is_told(desk, tmp_path):
    layout = desk.package(1)
    run = desk.export(layout.tag, tmp_path / "x.tar")
    content = (tmp_path / "x.tar").read_bytes()
    [archive] = run.state().artifacts
    assert (archive.kind, archive.bytes, archive.sha256) == ("archive", len(content), hashlib.sha256(content).hexdigest())
    assert fresh_engine(tmp_path / "x.tar").find(layout.tag).id == layout.config
    assert not list(tmp_path.glob("*.part"))


def test_the_file_is_dockers_archive_and_an_oci_layout_over_the_same_blobs(desk, tmp_path):
    layout = desk.package(1)
    desk.export(layout.tag, tmp_path / "x.tar")
    found = members(tmp_path / "x.tar")
    [listed] = json.loads(found["manifest.json"])
    [entry] = json.loads(found["index.json"])["manifests"]
    manifest = json.loads(found[f"blobs/sha256/{entry['digest'][7:]}"])
    assert listed["RepoTags"] == [layout.tag] and entry["annotations"]["io.containerd.image.name"] == f"docker.io/{layout.tag}"
    assert listed["Layers"] == [f"blobs/sha256/{layer['digest'][7:]}" for layer in manifest["layers"]]
    assert listed["Config"] == f"blobs/sha256/{manifest['config']['digest'][7:]}"
    assert all(hashlib.sha256(content).hexdigest() == name[13:] for name, content in found.items() if name.startswith("blobs/"))
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_a_layout_needs_no_engine(desk, tmp_path):
    layout = desk.package(1)
    engineless(desk).export(layout.tag, tmp_path / "by-name.tar")
    engineless(desk).export("1", tmp_path / "by-run.tar")
    assert (tmp_path / "by-name.tar").read_bytes() == (tmp_path / "by-run.tar").read_bytes()


def test_the_engine_gives_the_very_same_file_where_the_layout_is_gone(desk, tmp_path):
    layout = desk.package(1)
    desk.export(layout.tag, tmp_path / "x.tar")
    desk.without_layouts()
    run = desk.export(layout.tag, tmp_path / "y.tar")
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()
    assert not (run.folder / "image").exists(), "what was made on the way is gone"


def test_another_name_of_the_image_is_exported_from_its_layout_under_that_name(desk, tmp_path):
    layout = desk.package(1)
    desk.engine.tag(layout.tag, "registry.example/travel:9")
    run = desk.export("registry.example/travel:9", tmp_path / "x.tar")
    assert run.request["steps"][0]["options"]["layout"] == str(layout.folder)
    assert fresh_engine(tmp_path / "x.tar").find("registry.example/travel:9").id == layout.config


@pytest.mark.parametrize("kind", ["name", "run", "file", "engine"])
def test_a_delta_holds_the_retrained_adapter_alone_whatever_names_the_earlier_image(desk, tmp_path, kind):
    old, new = desk.package(1), desk.package(2, travel=b"u")
    desk.export(old.tag, tmp_path / "old.tar")
    since = {"name": old.tag, "run": "1", "file": str(tmp_path / "old.tar"), "engine": old.tag}[kind]
    if kind == "engine":
        desk.without_layouts()
    desk.export(new.tag, tmp_path / "delta.tar", since=since)
    assert (tmp_path / "delta.tar").stat().st_size <= ADAPTER + 20_000
    assert fresh_engine(tmp_path / "old.tar", tmp_path / "delta.tar").find(new.tag).id == new.config


def test_a_delta_can_follow_a_delta(desk, tmp_path):
    layouts = [desk.package(1), desk.package(2, travel=b"u"), desk.package(3, travel=b"v")]
    files = [tmp_path / f"{number}.tar" for number in (1, 2, 3)]
    desk.export(layouts[0].tag, files[0])
    desk.export(layouts[1].tag, files[1], since=str(files[0]))
    desk.export(layouts[2].tag, files[2], since=str(files[1]))
    assert fresh_engine(*files).find(layouts[2].tag).id == layouts[2].config


def test_layers_above_the_first_that_changed_are_in_the_delta_for_engines_do_not_find_them(desk, tmp_path):
    old, new = desk.package(1), desk.package(2, persona=b"q")
    planned = plan_export(desk.bench, new.tag, old.tag)
    assert [layer.name for layer in planned.held] == ["adapter persona", "adapter travel"]
    assert [layer.name for layer in planned.left_out][-1] == "model"
    desk.export(old.tag, tmp_path / "old.tar")
    desk.export(new.tag, tmp_path / "delta.tar", since=old.tag)
    assert fresh_engine(tmp_path / "old.tar", tmp_path / "delta.tar").find(new.tag).id == new.config


def test_a_delta_says_what_it_builds_on_in_its_index_and_in_the_name_of_what_is_missing(desk, tmp_path):
    old, new = desk.package(1), desk.package(2, travel=b"u")
    desk.export(new.tag, tmp_path / "delta.tar", since=old.tag)
    told = json.loads(members(tmp_path / "delta.tar")["index.json"])["annotations"]
    assert told[SINCE] == old.tag and told[MISSING].split(",") == list(old.diff_ids[:-1])
    with pytest.raises(Exception, match="this-is-a-delta_load-edge-toolkit_travel-cpu_0001-first"):
        fresh_engine(tmp_path / "delta.tar")


def test_the_size_of_the_file_is_known_beforehand(desk, tmp_path):
    old, new = desk.package(1), desk.package(2, travel=b"u")
    for since in ("", old.tag):
        planned = plan_export(desk.bench, new.tag, since)
        desk.export(new.tag, tmp_path / f"x{bool(since)}.tar", since=since)
        assert planned.bytes == (tmp_path / f"x{bool(since)}.tar").stat().st_size


def test_an_image_since_itself_holds_nothing_and_is_refused(desk):
    layout = desk.package(1)
    with pytest.raises(PublishError, match="is the very image"):
        plan_export(desk.bench, layout.tag, "1")


def test_a_stranger_to_build_on_is_refused(desk):
    layout = desk.package(1)
    desk.base = desk.engine.add_base("edge-toolkit/runtime-cpu:2", [b"other"])
    other = desk.package(2)
    with pytest.raises(PublishError, match="no layer in common"):
        plan_export(desk.bench, layout.tag, other.tag)


def test_a_file_that_is_no_archive_is_no_image_to_build_on(desk, tmp_path):
    layout = desk.package(1)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(PublishError, match="is no image archive"):
        plan_export(desk.bench, layout.tag, str(tmp_path / "notes.txt"))


def test_a_file_of_ours_says_which_image_it_is(desk, tmp_path):
    layout = desk.package(1)
    desk.export(layout.tag, tmp_path / "x.tar")
    held = read_file(tmp_path / "x.tar")
    assert (held.name, held.identity, held.layers) == (layout.tag, layout.config, layout.diff_ids)


def test_a_layout_that_went_after_the_run_was_asked_for_is_told(desk, tmp_path):
    layout = desk.package(1)
    run = start_export(desk.bench, layout.tag, tmp_path / "x.tar")
    desk.without_layouts()
    assert not HostSteps(desk.bench, run, {}).all_done()
    assert "is not on the disk any more" in run.state().problem and not list(tmp_path.glob("x.tar*"))


def test_a_file_that_is_there_is_left_alone_unless_asked(desk, tmp_path):
    layout = desk.package(1)
    (tmp_path / "x.tar").write_text("mine")
    with pytest.raises(PublishError, match="is there already"):
        start_export(desk.bench, layout.tag, tmp_path / "x.tar")
    desk.export(layout.tag, tmp_path / "x.tar", overwrite=True)
    assert read_file(tmp_path / "x.tar").identity == layout.config


def test_a_file_that_came_meanwhile_is_left_alone(desk, tmp_path):
    run = start_export(desk.bench, desk.package(1).tag, tmp_path / "x.tar")
    (tmp_path / "x.tar").write_text("mine")
    assert not HostSteps(desk.bench, run, {}).all_done()
    assert (tmp_path / "x.tar").read_text() == "mine" and "is there already" in run.state().problem


def test_an_image_larger_than_the_free_disk_is_refused_with_both_numbers(desk, tmp_path, monkeypatch):
    layout = desk.package(1)
    monkeypatch.setattr(exporting, "free_bytes", lambda path: 1000)
    with pytest.raises(DiskError, match=r"takes 3\d\d\.\d kB; .* 1\.0 kB free"):
        start_export(desk.bench, layout.tag, tmp_path / "x.tar")
    assert not [run for run in desk.bench.runs() if run.kind == "export"]


def test_a_missing_folder_is_told_before_the_engine_is_asked(desk, tmp_path):
    with pytest.raises(PublishError, match="There is no folder"):
        start_export(desk.bench, "no such image", tmp_path / "nowhere" / "x.tar")


def test_what_was_half_written_goes_and_the_run_can_be_resumed(desk, tmp_path):
    layout = desk.package(1)
    run = start_export(desk.bench, layout.tag, tmp_path / "x.tar")
    model = layout.blob(layout.diff_ids[2])
    model.rename(tmp_path / "away")
    assert not HostSteps(desk.bench, run, {}).all_done()
    assert list(tmp_path.glob("x.tar*")) == []
    (tmp_path / "away").rename(model)
    desk.bench.host_driver(b"").dies(run, 1)
    lifecycle.resume(desk.bench.host_driver(b""), run)
    assert HostSteps(desk.bench, run, {}).all_done() and read_file(tmp_path / "x.tar").identity == layout.config


@pytest.mark.parametrize(
    ("wanted", "expected"), [("x.tar", "x.tar"), ("sub", "sub/travel-cpu-0001.tar"), ("new/", "new/travel-cpu-0001.tar")]
)
def test_a_folder_gets_a_file_with_the_images_name(tmp_path, wanted, expected):
    (tmp_path / "sub").mkdir()
    assert file_for(f"{NAME}:0001", wanted, tmp_path) == tmp_path / expected


@pytest.mark.parametrize("since", [f"{NAME}:0001", "/media/stick/0001.tar"])
def test_a_delta_is_called_after_both_images(since):
    assert default_name(f"{NAME}:0002", since) == "travel-cpu-0002-since-0001.tar"
