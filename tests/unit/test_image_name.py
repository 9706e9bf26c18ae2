"""Two homes on one engine: neither takes the name of the other's image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeImages
from tests.tui.shelf import add_build, add_image
from tests.tui.stage import Stage
from toolkit.core.hoststeps import Job
from toolkit.core.image_name import image_name, mark_of, owners
from toolkit.core.packagable import as_memory_mb, packagable
from toolkit.core.packaging import image
from toolkit.core.stock import stock
from toolkit.core.targets import packaged, start_package
from toolkit.errors import EngineError, RunError

PLAIN = "edge-toolkit/travel-cpu:0001"


@pytest.fixture
def homes(tmp_path: Path) -> list[Stage]:
    """Two homes that share an engine, each with its first build."""
    images = FakeImages()
    stages = [Stage(tmp_path / name, images=images) for name in ("one", "two")]
    for stage in stages:
        add_build(stage)
    return stages


def packaged_by(stage: Stage) -> dict:
    """What the packaging run of the home's build is asked."""
    return start_package(stage.bench, stage.bench.run("1"), "cpu").request["steps"][0]["options"]


def test_the_later_home_gets_another_name_and_is_told(homes):
    one, two = homes
    add_image(one, 1, home=mark_of(one.settings.runs))
    mark = mark_of(two.settings.runs)
    options = packaged_by(two)
    assert options["tag"] == f"{PLAIN}-{mark[:6]}" and PLAIN in options["note"] and "another home" in options["note"]
    assert packagable(two.bench)[0].name.tag == options["tag"]


def test_a_home_packages_again_under_its_own_name(homes):
    one, _ = homes
    add_image(one, 1, home=mark_of(one.settings.runs))
    options = packaged_by(one)
    assert (options["tag"], options["note"]) == (PLAIN, "")


def test_an_image_that_bears_no_mark_keeps_its_name(homes):
    one, _ = homes
    add_image(one, 1)
    assert owners(one.images) == {PLAIN: ""}
    assert packaged_by(one)["tag"] == f"{PLAIN}-{mark_of(one.settings.runs)[:6]}"


def test_a_name_that_another_home_took_meanwhile_is_not_taken_from_it(homes):
    one, two = homes
    run = start_package(two.bench, two.bench.run("1"), "cpu")
    theirs = add_image(one, 1, home=mark_of(one.settings.runs))
    with pytest.raises(EngineError, match="Another home has meanwhile made an image edge-toolkit/travel-cpu:0001"):
        image(Job(two.bench, run, "image", run.request["steps"][1]["options"]))
    assert two.images.known[PLAIN] is theirs


def test_the_images_of_this_home_are_listed_first(homes):
    one, two = homes
    add_image(one, 1, home=mark_of(one.settings.runs))
    add_image(two, 2, {"travel": "t2"}, device="cuda12", home=mark_of(two.settings.runs))
    assert [(item.reference, item.is_strange) for item in stock(two.bench).items] == [
        ("edge-toolkit/travel-cuda12:0002", False),
        (PLAIN, True),
    ]
    assert [row.is_strange for row in packaged(two.bench)] == [False, True]


def test_the_same_home_gives_the_same_name_again():
    owned = {PLAIN: "0123abcd"}
    names = {image_name("travel", "cpu", "0001-build-travel", "feedbeef", owned).tag for _ in range(2)}
    assert names == {f"{PLAIN}-feedbe"}


@pytest.mark.parametrize("text", ["abc", "63", "-5", "1e3", "1048577", "²"])
def test_a_memory_limit_out_of_bounds_is_refused(text):
    with pytest.raises(RunError, match="from 64 to 1048576"):
        as_memory_mb(text)


def test_no_memory_limit_is_the_devices_own():
    assert (as_memory_mb(" "), as_memory_mb("64")) == (0, 64)
