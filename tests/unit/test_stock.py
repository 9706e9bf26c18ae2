"""What is packaged: which run made it, what came before it, and what goes when it is removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tui.shelf import add_build, add_image, retag
from tests.tui.stage import NOW, Stage
from toolkit.core import events as ev
from toolkit.core.run import new_run
from toolkit.core.stock import removal, remove, smoke_answers, stock
from toolkit.errors import EngineMissing, PublishError

OLD, NEW = "edge-toolkit/travel-cpu:0001", "edge-toolkit/travel-cpu:0004"


@pytest.fixture
def shelf(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    add_image(stage, 1, {"persona": "p1", "travel": "t1"}, age=90_000)
    add_image(stage, 4, {"persona": "p2", "travel": "t1"}, age=4000)
    return stage


def add_folder(stage: Stage) -> str:
    """A build packaged by the local engine."""
    options = {"build": "0001-build-travel", "device": "cpu", "engine": "local", "tag": ""}
    steps = [{"name": kind, "kind": kind, "options": options, "inputs": {}} for kind in ("collect", "smoke")]
    run = new_run(stage.settings.runs, "package", "travel", lambda _: {"engine": "local", "recipe": {"name": "travel"}, "steps": steps})
    (run.folder / "content" / "adapters").mkdir(parents=True)
    (run.folder / "content" / "adapters" / "travel.onnx_adapter").write_bytes(b"12345")
    for event in (ev.RunRequested(run=run.id, kind="package"), ev.RunFinished(at=NOW)):
        run.append(event)
    return run.id


def test_an_image_knows_the_run_that_made_it_when_and_what_it_answered(shelf):
    item = stock(shelf.bench).find(NEW)
    assert (item.runs, item.made_at, item.build) == (("0002-package-travel",), NOW - 4000, "0004-build-travel")
    assert smoke_answers(shelf.bench, item)["base:travel"] == "Paris."


def test_it_is_found_by_any_of_its_names_its_id_and_its_run(shelf):
    retag(shelf, shelf.images.known[NEW], "127.0.0.1:5000/travel:0004")
    known = stock(shelf.bench)
    found = [known.find(name) for name in (NEW, "127.0.0.1:5000/travel:0004", shelf.images.known[NEW].id, "0002-package-travel")]
    assert {item.reference for item in found} == {NEW} and len(known.items) == 2


def test_the_image_before_is_the_last_of_the_same_recipe_and_device_made_here(shelf):
    add_image(shelf, 3, {"travel": "t0"}, device="cuda12", age=5000)
    stranger = add_image(shelf, 9, {"travel": "t9"}, age=1)
    for run in shelf.bench.runs()[-1:]:
        (run.folder / "events.jsonl").unlink()
    known = stock(shelf.bench)
    assert known.before(known.find(NEW)).reference == OLD
    assert known.before(known.find(OLD)) is None
    assert known.find(stranger.id).runs == () and known.find(stranger.id).made_at == 0


def test_a_run_packaged_again_is_seen_anew(shelf):
    run = shelf.bench.runs()[1]
    assert stock(shelf.bench).find(NEW).made_at == NOW - 4000
    made = next(a for a in run.state().artifacts if a.kind == "image")
    run.append(ev.ArtifactWritten(**{**vars(made), "at": NOW - 10}))
    assert stock(shelf.bench).find(NEW).made_at == NOW - 10


def test_an_engine_that_is_away_is_told_and_folders_are_still_listed(shelf):
    folder = add_folder(shelf)
    shelf.is_engine_down = True
    known = stock(shelf.bench)
    assert [item.reference for item in known.items] == [folder] and isinstance(known.problem, EngineMissing)
    assert (known.items[0].adapters, known.items[0].bytes, known.items[0].is_folder) == (("travel",), 5, True)


def test_removal_says_what_becomes_free_and_whether_it_can_be_made_again(shelf):
    planned = removal(shelf.bench, stock(shelf.bench), NEW)
    assert planned.freed == 2 * 23_251_960 + 99, "everything above what the other image shares"
    assert "0004-build-travel is not here" in planned.consequence
    build = add_build(shelf)
    image = add_image(shelf, int(build.id[:4]), {"travel": "t2"})
    assert f"Its build {build.id} stays" in removal(shelf.bench, stock(shelf.bench), image.id).consequence


def test_an_image_is_removed_with_all_its_names_and_no_other(shelf):
    retag(shelf, shelf.images.known[NEW], "127.0.0.1:5000/travel:0004")
    remove(shelf.bench, stock(shelf.bench).find(NEW))
    assert list(shelf.images.known) == [OLD]


def test_a_folder_is_removed_with_its_run(shelf):
    folder = add_folder(shelf)
    remove(shelf.bench, stock(shelf.bench).find(folder))
    assert folder not in [run.id for run in shelf.bench.runs()] and len(shelf.images.known) == 2


def test_what_is_not_there_cannot_be_removed(shelf):
    with pytest.raises(PublishError, match="There is no packaged image 'x:1'"):
        removal(shelf.bench, stock(shelf.bench), "x:1")


def test_a_damaged_packaging_run_hides_no_other(shelf):
    (shelf.bench.runs()[0].folder / "request.json").write_text(json.dumps({"format": 1}))
    assert stock(shelf.bench).find(NEW).runs == ("0002-package-travel",)
