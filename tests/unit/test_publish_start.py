"""What a publishing run is asked: without the engine where the layout is at hand, and refused before anything is made."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.packaged_home import Packaged, packaged_home
from tests.services.strict_registry import StrictRegistry
from toolkit.core import events as ev
from toolkit.core.hoststeps import HostSteps
from toolkit.core.publish_start import PublishWish, make_request, start_publish
from toolkit.errors import EngineMissing, PublishError

TARGET, STORE = "127.0.0.1:5000/travel", "sub/group/space"
PLAIN, CLOUD = "127.0.0.1:5000/travel", "lab.azurecr.io/travel"


@pytest.fixture
def home(tmp_path: Path) -> Packaged:
    return packaged_home(tmp_path / "home", weights=1000)


def no_engine():
    raise EngineMissing("No Docker engine answers here.")


def engineless(home: Packaged) -> Packaged:
    return replace(home, bench=replace(home.bench, image_engine=no_engine))


def asked(home: Packaged, **wish) -> dict:
    return make_request(home.bench, PublishWish(**{"image": home.name, "target": TARGET, **wish}))


def options_of(request: dict) -> dict:
    return request["steps"][0]["options"]


@pytest.mark.parametrize("name", ["edge-toolkit/travel-cpu:0001", "0001-build-travel", "2"])
def test_an_image_whose_layout_is_here_is_published_without_an_engine(home, name):
    options = options_of(asked(engineless(home), image=name))
    assert (options["image"], options["via"], options["layout"]) == (home.name, "direct", str(home.layout.folder))
    assert options["image_id"] == home.layout.config == home.engine.known[home.name].id
    assert options["target"] == f"{TARGET}:0001", "a tag is the image's own unless one is given"


def test_a_layout_of_another_image_than_the_one_that_was_tried_is_not_pushed(home):
    home.run.append(ev.ArtifactWritten(step="image", kind="image", path=home.name, bytes=1, sha256="f" * 64))
    made = home.run.folder / "events.jsonl"
    made.write_text("".join(line + "\n" for line in made.read_text().splitlines() if home.layout.config[7:] not in line))
    options = options_of(asked(home))
    assert (options["via"], options["layout"], options["image_id"]) == ("engine", "", home.engine.known[home.name].id)
    with pytest.raises(PublishError, match="not of the image that was tried"):
        asked(home, via="direct")


def test_the_engine_pushes_where_that_is_wanted_or_the_layout_is_gone(home):
    assert options_of(asked(home, via="engine"))["via"] == "engine"
    shutil.rmtree(home.layout.folder)
    assert options_of(asked(home))["via"] == "engine"
    with pytest.raises(EngineMissing):
        asked(engineless(home))


@pytest.mark.parametrize(
    ("target", "store", "kinds"),
    [
        (PLAIN, "", ["push", "verify"]),
        (CLOUD, "", ["rights", "push", "verify"]),
        (PLAIN, STORE, ["rights", "push", "verify", "register", "link"]),
        (CLOUD, STORE, ["rights", "push", "verify", "register", "link"]),
        ("", STORE, ["rights", "register"]),
    ],
)
def test_only_what_was_asked_for_is_done(home, target, store, kinds):
    request = asked(home, target=target, store=store)
    assert [step["kind"] for step in request["steps"]] == kinds
    assert all(step["options"] == options_of(request) for step in request["steps"])


def test_the_content_that_is_registered_is_the_one_that_packaging_recorded(home):
    options = options_of(asked(home, store=STORE, description="d", tags={"a": "b"}))
    recorded = next(made.sha256 for made in home.run.state().artifacts if made.kind == "model")
    assert (options["content"], options["content_sha256"]) == (str(home.content), recorded)
    assert (options["model"], options["version"], options["type"], options["tags"]) == ("travel", "", "custom_model", {"a": "b"})


@pytest.mark.parametrize(
    ("target", "whole"),
    [
        ("lab.azurecr.io", "lab.azurecr.io/travel:0001"),
        ("lab.azurecr.io/team/", "lab.azurecr.io/team/travel:0001"),
        ("lab.azurecr.io/team/x", "lab.azurecr.io/team/x:0001"),
        ("127.0.0.1:5000/x:v2", "127.0.0.1:5000/x:v2"),
    ],
)
def test_what_a_target_leaves_out_comes_from_the_image(home, target, whole):
    assert options_of(asked(home, target=target))["target"] == whole


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"target": ""}, "nowhere to publish to"),
        ({"target": "travel"}, "'travel' names no registry"),
        ({"store": "only/two"}, "names no workspace"),
        ({"store": "azureml://elsewhere/x"}, "names no registry of models"),
        ({"via": "pigeon"}, "no way 'pigeon'"),
        ({"model_type": "tall"}, "no type of models 'tall'"),
    ],
)
def test_what_is_wrong_is_told_before_any_engine_is_asked(home, wish, told):
    with pytest.raises(PublishError, match=told):
        asked(engineless(home), **{"image": "no such image", **wish})
    assert len(home.bench.runs()) == 2


def test_a_workspace_by_its_whole_id_is_the_same_workspace(home):
    whole = "/subscriptions/sub/resourceGroups/group/providers/Microsoft.MachineLearningServices/workspaces/space"
    assert options_of(asked(home, store=whole))["store"] == STORE
    assert options_of(asked(home, store="azureml://registries/shared/"))["store"] == "azureml://registries/shared"


def test_what_was_packaged_as_a_folder_can_be_registered_and_not_pushed(home):
    request = json.loads((home.run.folder / "request.json").read_text())
    (home.run.folder / "request.json").write_text(json.dumps({**request, "engine": "local"}))
    local = engineless(home)
    options = options_of(asked(local, image="2", target="", store=STORE))
    assert (options["image"], options["image_id"], options["content"]) == (home.run.id, "", str(home.content))
    with pytest.raises(PublishError, match="packaged as a folder"):
        asked(local, image="2", store=STORE)


def test_without_its_files_there_is_nothing_to_register_and_the_image_can_still_be_pushed(home):
    shutil.rmtree(home.content)
    with pytest.raises(PublishError, match="nothing to register"):
        asked(home, store=STORE)
    assert options_of(asked(home))["content"] == ""


def test_the_request_keeps_the_user_and_never_the_password(home):
    run = start_publish(home.bench, PublishWish(home.name, TARGET, "edge"), b'{"username": "edge", "password": "not-a-secret"}')
    assert options_of(run.request)["username"] == "edge"
    assert not [path for path in run.folder.rglob("*") if path.is_file() and b"not-a-secret" in path.read_bytes()]


def test_an_engine_that_knows_images_by_their_manifest_changes_nothing(home):
    events = home.run.folder / "events.jsonl"
    events.write_text(events.read_text().replace(f'"sha256":"{home.layout.config[7:]}"', f'"sha256":"{home.layout.manifest[7:]}"'))
    assert any(made.sha256 == home.layout.manifest[7:] for made in home.run.state().artifacts if made.kind == "image")
    with StrictRegistry().running() as registry:
        run = start_publish(home.bench, PublishWish(home.name, f"{registry.address}/travel"), b"{}")
        assert HostSteps(home.bench, run, {}).all_done(), run.state().problem
        assert (options_of(run.request)["via"], options_of(run.request)["image_id"]) == ("direct", home.layout.config)


@pytest.mark.parametrize(
    ("wish", "words"),
    [({"model": "has space"}, "cannot be a model's name"), ({"version": "1/2"}, "a whole number"), ({"version": "0"}, "a whole number")],
)
def test_a_name_or_version_that_no_workspace_takes_makes_no_run(home, wish, words):
    with pytest.raises(PublishError, match=words):
        asked(home, store=STORE, **wish)


def test_a_user_with_a_password_needs_no_rights_of_the_cloud_to_push(home):
    kinds = [[step["kind"] for step in asked(home, target=CLOUD, username=user)["steps"]] for user in ("", "me")]
    assert kinds == [["rights", "push", "verify"], ["push", "verify"]]
