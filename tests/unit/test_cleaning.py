"""What `edge clean` names on an engine that several homes use."""

from __future__ import annotations

from pathlib import Path

from tests.fakes import FakeEngine, FakeImages
from toolkit.core.cleaning import survey
from toolkit.core.engine import LABEL, Image
from toolkit.core.image_name import HOME, mark_of
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
