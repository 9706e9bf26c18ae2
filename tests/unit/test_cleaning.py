"""What `edge clean` names on an engine that several homes use."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tests.fakes import FakeEngine, FakeImages
from toolkit.core.cleaning import survey
from toolkit.core.engine import LABEL, Image
from toolkit.core.files import freed_bytes
from toolkit.core.image_name import HOME, mark_of
from toolkit.core.sample import NAME as SAMPLE
from toolkit.core.workbench import Workbench
from toolkit.settings import Settings


def packaged(tag: str, **labels: str) -> Image:
    return Image(f"sha256:{tag}", (tag,), 1, "", {f"{LABEL}.kind": "image", **labels})


def test_images_of_another_home_are_not_named(tmp_path: Path) -> None:
    settings, images = Settings(home=tmp_path), FakeImages()
    mark = mark_of(settings.runs)
    for image in (packaged("mine:1", **{HOME: mark}), packaged("theirs:1", **{HOME: "someone"}), packaged("unmarked:1")):
        images.known[image.tags[0]] = image
    bench = Workbench(settings, lambda _: FakeEngine(), lambda _: FakeEngine(), lambda: images, lambda: images, lambda *_: None)
    litter = next(litter for litter in survey(bench) if litter.kind == "images")
    assert set(litter.items) == {"mine:1", "unmarked:1"}


def test_a_layer_that_two_runs_share_is_counted_once_and_only_where_both_go(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("1", "2")]
    for run in runs:
        run.mkdir()
        (run / "own").write_bytes(b"x" * 10)
    (runs[0] / "layer").write_bytes(b"x" * 1000)
    os.link(runs[0] / "layer", runs[1] / "layer")
    assert [freed_bytes([run]) for run in runs] == [10, 10]
    assert freed_bytes(runs) == 1020


def test_models_that_are_whole_or_under_way_are_not_named(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    whole, cut, under_way = (settings.models / name for name in ("whole", ".cut.making", ".now.making"))
    for folder in (whole, cut, under_way, settings.models / f".{SAMPLE}.making"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
    bench = Workbench(settings, lambda _: FakeEngine(), lambda _: FakeEngine(), FakeImages, FakeImages, lambda *_: None)
    held = os.open(under_way, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        litter = next(litter for litter in survey(bench) if litter.kind == "models")
        assert (litter.items, litter.bytes) == (("cut",), 1000)
        litter.remove()
    finally:
        os.close(held)
    assert whole.is_dir() and under_way.is_dir() and not cut.exists()
