"""An image as a file: what is refused beforehand, and that nothing half-written is left."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.fakes import FakeEngine, FakeImages
from toolkit.core import lifecycle
from toolkit.core.engine import LABEL, Image
from toolkit.core.exporting import file_for
from toolkit.core.hoststeps import HostSteps
from toolkit.core.targets import start_export
from toolkit.core.workbench import Workbench
from toolkit.errors import DiskError, EngineError, PublishError
from toolkit.settings import Settings

NAME = "edge-toolkit/travel-cpu:0001"


@pytest.fixture
def images() -> FakeImages:
    known = {NAME: Image("sha256:i", (NAME,), 9, "", {f"{LABEL}.kind": "image", f"{LABEL}.recipe": "travel"})}
    return FakeImages(known=known, saved=b"an archive")


@pytest.fixture
def bench(tmp_path: Path, images: FakeImages) -> Workbench:
    engine = FakeEngine()
    return Workbench(
        settings=Settings(home=tmp_path / "home"),
        build_engine=lambda name: engine,
        host_driver=lambda secrets: engine,
        image_engine=lambda: images,
        local_chat=lambda: images,
        fetch_asset=lambda uri, folder, say: None,
    )


def test_the_file_has_its_name_once_it_is_whole_and_its_sha_is_told(bench, tmp_path):
    run = start_export(bench, NAME, tmp_path / "x.tar")
    assert run.kind == "export" and HostSteps(bench, run, {}).all_done()
    assert (tmp_path / "x.tar").read_bytes() == b"an archive"
    [archive] = run.state().artifacts
    assert (archive.kind, archive.bytes, archive.sha256) == ("archive", 10, hashlib.sha256(b"an archive").hexdigest())


def test_a_file_that_is_there_is_left_alone_unless_asked(bench, tmp_path):
    (tmp_path / "x.tar").write_text("mine")
    with pytest.raises(PublishError, match="is there already"):
        start_export(bench, NAME, tmp_path / "x.tar")
    run = start_export(bench, NAME, tmp_path / "x.tar", overwrite=True)
    assert HostSteps(bench, run, {}).all_done() and (tmp_path / "x.tar").read_bytes() == b"an archive"


def test_a_file_that_came_meanwhile_is_left_alone(bench, tmp_path):
    run = start_export(bench, NAME, tmp_path / "x.tar")
    (tmp_path / "x.tar").write_text("mine")
    assert not HostSteps(bench, run, {}).all_done()
    assert (tmp_path / "x.tar").read_text() == "mine" and "is there already" in run.state().problem


def test_an_image_larger_than_the_free_disk_is_refused_with_both_numbers(bench, images, tmp_path):
    images.known[NAME] = Image("sha256:i", (NAME,), 10**17, "", {f"{LABEL}.kind": "image"})
    with pytest.raises(DiskError, match="takes 100000.0 TB; .* free"):
        start_export(bench, NAME, tmp_path / "x.tar")
    assert bench.runs() == []


def test_a_missing_folder_is_told_before_the_engine_is_asked(bench, tmp_path):
    with pytest.raises(PublishError, match="There is no folder"):
        start_export(bench, "no such image", tmp_path / "nowhere" / "x.tar")


class Breaking(FakeImages):
    def save(self, reference: str):
        yield b"half"
        raise EngineError("The engine went away.", "Start it.")


def test_what_was_half_written_goes_and_the_run_can_be_resumed(bench, images, tmp_path):
    broken = Breaking(known=images.known)
    run = start_export(bench, NAME, tmp_path / "x.tar")
    failing = Workbench(bench.settings, bench.build_engine, bench.host_driver, lambda: broken, bench.local_chat, bench.fetch_asset)
    assert not HostSteps(failing, run, {}).all_done()
    assert list(tmp_path.glob("x.tar*")) == [] and run.state().problem == "save: The engine went away."
    bench.host_driver(b"").dies(run, 1)
    lifecycle.resume(bench.host_driver(b""), run)
    assert HostSteps(bench, run, {}).all_done() and (tmp_path / "x.tar").read_bytes() == b"an archive"


@pytest.mark.parametrize(
    ("wanted", "expected"), [("x.tar", "x.tar"), ("sub", "sub/travel-cpu-0001.tar"), ("new/", "new/travel-cpu-0001.tar")]
)
def test_a_folder_gets_a_file_with_the_images_name(tmp_path, wanted, expected):
    (tmp_path / "sub").mkdir()
    assert file_for(NAME, wanted, tmp_path) == tmp_path / expected
