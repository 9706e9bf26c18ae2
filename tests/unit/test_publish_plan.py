"""What a push would move, asked of registries as odd as real ones are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import FakeEngine, FakeImages
from tests.services.paper_registry import PaperRegistry
from toolkit.core import publishing
from toolkit.core.engine import LABEL, Credentials, Image, ImageLayer, PushProgress
from toolkit.core.image_layers import NamedLayer
from toolkit.core.publish_plan import PublishPlan, in_words, make_plan
from toolkit.core.registry import newest_first
from toolkit.core.run import new_run
from toolkit.core.workbench import Workbench
from toolkit.errors import PublishError, RegistryDenied
from toolkit.settings import Settings

SIZES = {"sha256:r": 100, "sha256:m": 900, "sha256:t": 50, "sha256:c": 1}
MADE_BY = ("runtime", "edge package: model", "edge package: adapter travel", "edge package: configuration")
IMAGE = "edge-toolkit/travel-cpu:0007"
WHO = Credentials("edge", "not-a-secret")


@pytest.fixture
def registry() -> Iterator[PaperRegistry]:
    service = PaperRegistry()
    service.start()
    yield service
    service.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    layers = [ImageLayer(diff_id, size, made_by) for (diff_id, size), made_by in zip(SIZES.items(), MADE_BY, strict=True)]
    images = FakeImages(of_layers={layer.diff_id: layer for layer in layers})
    images.known[IMAGE] = Image("sha256:own", (IMAGE,), 1051, "", {f"{LABEL}.kind": "image"}, tuple(SIZES))
    engine = FakeEngine()
    return Workbench(
        settings=Settings(home=tmp_path),
        build_engine=lambda name: engine,
        host_driver=lambda secrets: engine,
        image_engine=lambda: images,
        local_chat=lambda: images,
        fetch_asset=lambda uri, folder, say: None,
    )


def plan(bench: Workbench, registry: PaperRegistry, tag: str = "", credentials: Credentials | None = None) -> PublishPlan:
    return make_plan(bench, IMAGE, f"{registry.address}/travel{tag}", credentials)


def statuses(planned: PublishPlan) -> str:
    return " ".join(layer.status for layer in planned.layers)


def test_in_an_empty_registry_everything_is_missing(bench, registry):
    planned = plan(bench, registry)
    assert statuses(planned) == "missing missing missing missing"
    assert (planned.unpacked_bytes, planned.packed_bytes, planned.tag) == (1051, None, "new")
    assert planned.target.endswith("/travel:0007"), "the image's own tag"


def test_layers_of_another_tag_are_present_with_their_size_as_stored(bench, registry):
    registry.put("0006", {"sha256:r": 40, "sha256:m": 700, "sha256:old": 9})
    planned = plan(bench, registry)
    assert statuses(planned) == "present present missing missing"
    assert [layer.packed for layer in planned.layers] == [40, 700, None, None]
    assert planned.unpacked_bytes == 51


def test_this_very_image_under_the_tag_moves_nothing(bench, registry):
    bench.image_engine().known[IMAGE] = Image(
        registry.put("0007", dict.fromkeys(SIZES, 10)), (IMAGE,), 1051, "", {f"{LABEL}.kind": "image"}, tuple(SIZES)
    )
    planned = plan(bench, registry)
    assert (planned.tag, planned.to_move) == ("same", ())
    assert "this very image" in in_words(planned)


def test_another_image_under_the_tag_is_told_before_it_is_replaced(bench, registry):
    registry.put("0007", {"sha256:other": 10})
    planned = plan(bench, registry)
    assert planned.tag == "other" and "names another image now" in in_words(planned)


def test_without_a_list_of_tags_what_is_not_found_is_unknown(bench, registry):
    registry.lists_tags = False
    registry.put("0007", {"sha256:r": 40})
    planned = plan(bench, registry)
    assert statuses(planned) == "present unknown unknown unknown"
    assert "does not list its tags" in in_words(planned)


def test_a_list_of_tags_in_pages_is_read_to_its_end(bench, registry):
    registry.page = 2
    for number in range(1, 6):
        registry.put(f"{number:04d}", {f"sha256:{number}": 1})
    registry.put("0001", {"sha256:t": 30})
    assert statuses(plan(bench, registry)) == "missing missing present missing"


def test_of_very_many_tags_the_newest_are_read_and_the_rest_is_unknown(bench, registry):
    for number in range(1, 41):
        registry.put(f"{number}", {f"sha256:{number}": 1})
    registry.put("40", {"sha256:m": 700})
    planned = plan(bench, registry)
    assert statuses(planned) == "unknown present unknown unknown"
    assert planned.images_read <= 12 and "of 40 tags were looked into" in in_words(planned)


def test_an_image_for_several_platforms_is_looked_into(bench, registry):
    registry.put("amd64", {"sha256:r": 40})
    registry.put_index("0007", "amd64")
    del registry.tags["amd64"]
    assert statuses(plan(bench, registry)) == "present missing missing missing"


@pytest.mark.parametrize("way", ["basic", "token"])
def test_it_signs_in_as_the_registry_asks(bench, registry, way):
    registry.sign_in = way
    registry.put("0006", dict.fromkeys(SIZES, 10))
    assert statuses(plan(bench, registry, credentials=WHO)) == "present present present present"


@pytest.mark.parametrize("way", ["basic", "token"])
@pytest.mark.parametrize("who", [None, Credentials("edge", "wrong")])
def test_without_the_right_password_it_is_denied(bench, registry, way, who):
    registry.sign_in = way
    with pytest.raises(RegistryDenied, match="user name and a password|refused the credentials"):
        plan(bench, registry, credentials=who)


def test_what_answers_but_is_no_registry_is_told(bench, registry):
    registry.says = b"<html>welcome</html>"
    with pytest.raises(PublishError, match="is no registry"):
        plan(bench, registry)


def test_nobody_at_the_address_is_told_with_the_way_out(bench, registry):
    address = registry.address
    registry.stop()
    with pytest.raises(PublishError, match="does not answer") as told:
        make_plan(bench, IMAGE, f"{address}/travel", None)
    assert "try again" in told.value.hint
    registry.start()


def test_a_malformed_target_is_told_before_the_engine_is_asked(bench):
    with pytest.raises(PublishError, match="names no registry"):
        make_plan(bench, "no such image", "travel", None)


def test_what_an_earlier_push_found_out_says_how_much_a_missing_layer_takes_packed(bench, registry):
    asked = {"engine": "docker", "recipe": {"name": "travel"}, "steps": []}
    run = new_run(bench.settings.runs, "publish", "travel", lambda _: asked)
    (run.folder / publishing.STORED_FILE).write_text(json.dumps({diff_id: size // 2 for diff_id, size in SIZES.items()}))
    assert plan(bench, registry).packed_bytes == 50 + 450 + 25


def test_tags_that_are_numbers_come_newest_first():
    assert newest_first(["9", "10", "2", "0011"]) == ["0011", "10", "9", "2"]
    assert newest_first(["v2", "v11"]) == ["v11", "v2"]


def named(count: int) -> dict[str, NamedLayer]:
    return {f"{n:012d}": NamedLayer(f"layer {n}", "other", 100, f"sha256:{n:012d}") for n in range(count)}


def test_a_push_tells_every_layer_by_name_and_what_is_there_is_whole():
    tally = publishing.PushTally(named(3))
    tally.took(PushProgress("000000000000", "Layer already exists"))
    tally.took(PushProgress("000000000001", "Pushing", 30, 120))
    assert tally.parts() == {"layer 0": [100, 100], "layer 1": [25, 100], "layer 2": [0, 100]}
    assert (tally.done, tally.total, tally.count()) == (25, 200, 1)


def test_what_a_push_moves_at_most_is_known_from_the_start_and_never_grows():
    tally, totals = publishing.PushTally(named(3)), []
    for step in (
        PushProgress("000000000001", "Pushing", 30, 120),
        PushProgress("000000000000", "Layer already exists"),
        PushProgress("000000000002", "Pushing", 90, 90),
        PushProgress("000000000001", "Pushed"),
        PushProgress("000000000002", "Pushed"),
    ):
        tally.took(step)
        totals.append((tally.done, tally.total))
    assert totals == [(25, 300), (25, 200), (125, 200), (200, 200), (200, 200)]
    assert tally.bytes_read == 210


def test_a_layer_the_engine_calls_otherwise_is_told_by_that_name():
    tally = publishing.PushTally({})
    tally.took(PushProgress("abc", "Preparing"))
    assert tally.parts() == {"abc": [0, 0]}


def test_of_a_great_many_layers_those_not_there_yet_are_told():
    tally = publishing.PushTally(named(60))
    for short in list(named(60))[:50]:
        tally.took(PushProgress(short, "Layer already exists"))
    parts = tally.parts()
    assert len(parts) == publishing.MOST_PARTS and {f"layer {n}" for n in range(50, 60)} <= parts.keys()
