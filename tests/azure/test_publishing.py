"""The whole job as a person does it: a packaged image into a registry of Azure's, its model into a workspace, and back from either end."""

from __future__ import annotations

import json

import pytest

from tests.azure.arm import SUBSCRIPTION
from tests.azure.lab import SERVICE_PRINCIPAL, Lab
from tests.cli.desk import Desk
from tests.packaged_home import METRICS, Packaged, finished_build, package, packaged_home
from toolkit.core.content import folder_digest
from toolkit.core.images import OwnImage
from toolkit.core.lineage import LINEAGE_TYPE
from toolkit.core.reference import parse
from toolkit.core.referrers import attached, content_of
from toolkit.core.registry_session import Session
from toolkit.errors import ExitCode
from toolkit.settings import Settings

WORKSPACE, REGISTRY = f"{SUBSCRIPTION}/team/lab", "labacr.azurecr.io"
WHERE = ("--registry", REGISTRY, "--workspace", WORKSPACE)


@pytest.fixture
def home(desk: Desk) -> Packaged:
    return packaged_home(desk.home)


def done(desk: Desk, *arguments: object, **more: str) -> str:
    ended = desk.edge(*arguments, **more)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def publish(desk: Desk, *arguments: str) -> list[str]:
    """What it printed at the end: the image's digest and the model's id."""
    return done(desk, "publish", "last", *WHERE, *arguments).splitlines()[-2:]


def written(lab: Lab) -> list[tuple[str, str]]:
    """What was changed at Azure's; what Azure refused is not."""
    calls = [call for front in (lab.registry, lab.blobs, lab.cloud) for call in front.calls if call.status < 400]
    return [(call.method, call.path) for call in calls if call.method in ("PUT", "PATCH", "DELETE") or "/uploads/" in call.path]


def forget(lab: Lab) -> None:
    for front in (lab.registry, lab.blobs, lab.cloud):
        front.forget_calls()


def test_an_image_and_its_model_are_published_and_linked_by_one_command(signed_in: Lab, desk, home):
    release, model = publish(desk, "--description", "Answers of travellers", "--tag", "team=edge")
    assert release == f"{REGISTRY}/travel@{home.layout.manifest}" and model == "azureml:travel:1"
    stored = signed_in.registry.stored("travel", "0001")
    assert (stored.digest, stored.manifest["config"]["digest"]) == (home.layout.manifest, home.layout.config)
    registered = signed_in.cloud.model("travel", "1")
    assert registered["description"] == "Answers of travellers"
    assert registered["tags"] == {"team": "edge", "edge.image.cpu": home.layout.manifest}
    assert registered["properties"]["edge.metric.travel.perplexity"] == f"{METRICS['adapter.perplexity']:.6g}"
    assert registered["properties"]["edge.image"] == release
    assert list(desk.run().state().steps) == ["rights", "push", "verify", "register", "link"]


def test_the_image_leads_to_the_model_by_its_digest_alone(signed_in: Lab, desk, home):
    release, model = publish(desk)
    from deploy.acr import registry_sign_in
    from deploy.signin import credential

    session = Session(parse(f"{REGISTRY}/travel"), registry_sign_in(credential(Settings(desk.home)), REGISTRY))
    [link] = attached(session, release.rpartition("@")[2], LINEAGE_TYPE)
    told = json.loads(content_of(session, link))
    session.close()
    assert link.annotations == {"edge-toolkit.model": model, "edge-toolkit.store": WORKSPACE}
    assert (told["model"]["id"], told["model"]["store"], told["image"]) == (model, WORKSPACE, home.layout.manifest)
    assert told["properties"]["edge.run.build"] == home.build.id
    assert signed_in.registry.stored("travel", "0001").digest == home.layout.manifest, "a link changes no digest"


def test_publishing_again_moves_nothing_and_stays_the_same_version(signed_in: Lab, desk, home):
    first = publish(desk)
    forget(signed_in)
    moved = sum(signed_in.proxy.up.values())
    assert publish(desk) == first
    assert written(signed_in) == []
    assert sum(signed_in.proxy.up.values()) - moved <= 20_000, "heads, signing in and TLS are counted"
    assert signed_in.cloud.models.names["travel"].keys() == {"1"}


def test_the_models_of_the_workspace_are_listed_with_what_they_came_from(signed_in: Lab, desk, home):
    release, _ = publish(desk)
    listed = done(desk, "models", "--workspace", WORKSPACE)
    digest = home.layout.manifest.removeprefix("sha256:")
    assert all(word in listed for word in ("travel:1  cpu", digest[:12], "travel: perplexity 1.03, facts 86%, 127 tokens/s"))
    assert max(map(len, listed.splitlines())) <= 80, "it is read over SSH"
    whole = done(desk, "models", "azureml:travel:1", "--workspace", WORKSPACE)
    assert home.build.id in whole and "edge.tool.olive-ai" in whole and release in whole
    for image in (release, f"sha256:{digest}", digest[:12], home.layout.config):
        [found] = json.loads(done(desk, "models", "--image", image, "--workspace", WORKSPACE, "--json"))
        assert (found["name"], found["version"]) == ("travel", "1")
    assert json.loads(done(desk, "models", "--image", "sha256:" + "0" * 64, "--workspace", WORKSPACE, "--json")) == []


def test_a_model_comes_back_as_it_went_and_differences_are_named(signed_in: Lab, desk, home, tmp_path):
    publish(desk)
    same = done(desk, "models", "travel", "--workspace", WORKSPACE, "--download", tmp_path / "back", "--compare", "2")
    assert f"It is {home.run.id}, byte for byte" in same
    assert folder_digest(tmp_path / "back") == folder_digest(home.content)
    other = package(home.bench, finished_build(home.bench))
    differs = desk.edge("models", "travel:1", "--workspace", WORKSPACE, "--download", tmp_path / "back", "--compare", other.run.id)
    assert differs.returncode == ExitCode.PUBLISH
    assert "differs" in differs.stdout and "model/model.onnx.data" in differs.stdout and "device.json" not in differs.stdout


def test_the_address_of_a_model_and_every_digest_lead_to_the_run(signed_in: Lab, desk, home):
    release, model = publish(desk)
    for wanted in (model, signed_in.cloud.model("travel", "1")["modelUri"]):
        first, *more = done(desk, "show", wanted).splitlines()
        assert first == f"{wanted}: registered model, made by 0003-publish-travel"
        assert more[0].endswith(home.run.id) and more[1].endswith(home.build.id)
    assert f"made by {home.run.id}" in done(desk, "show", release)


def test_the_plan_tells_layers_version_and_rights_and_moves_nothing(signed_in: Lab, desk, home):
    ended = desk.edge("publish", "last", *WHERE, "--plan")
    assert ended.returncode == 0, ended.stderr
    assert "missing" in ended.stdout and "held" in ended.stdout and "travel:1 would be registered" in ended.stderr
    assert written(signed_in) == [] and len(desk.runs()) == 2
    publish(desk)
    again = desk.edge("publish", "last", *WHERE, "--plan", "--json")
    plan = json.loads(again.stdout)
    assert {layer["status"] for layer in plan["push"]["layers"]} == {"present"}
    assert plan["version"]["existing"]["id"] == "azureml:travel:1"


def test_a_right_that_is_missing_is_named_before_any_byte_moves(signed_in: Lab, desk, home):
    signed_in.cloud.deny_actions("labacr", "Microsoft.ContainerRegistry/registries/push/write")
    planned = desk.edge("publish", "last", *WHERE, "--plan")
    assert planned.returncode == ExitCode.CLOUD and "AcrPush" in planned.stdout + planned.stderr
    ended = desk.edge("publish", "last", *WHERE)
    assert ended.returncode == ExitCode.CLOUD and "AcrPush" in ended.stderr
    assert written(signed_in) == []


def test_a_version_with_other_content_is_refused_before_any_byte_moves(signed_in: Lab, desk, home):
    publish(desk)
    package(home.bench, finished_build(home.bench))
    forget(signed_in)
    ended = desk.edge("publish", "last", *WHERE, "--version", "1")
    assert ended.returncode == ExitCode.PUBLISH and "travel:1 is there with other content" in ended.stderr
    assert written(signed_in) == []
    assert publish(desk)[1] == "azureml:travel:2", "without a version the next number is taken"


def test_the_settings_say_where_things_go(signed_in: Lab, desk, home):
    told = {"EDGE_REGISTRY": f"{REGISTRY}/team", "EDGE_WORKSPACE": WORKSPACE}
    assert done(desk, "publish", "last", **told).splitlines()[-2:] == [f"{REGISTRY}/team/travel@{home.layout.manifest}", "azureml:travel:1"]
    assert "travel" in done(desk, "models", **told)


def test_either_end_can_be_left_out(signed_in: Lab, desk, home):
    told = {"EDGE_REGISTRY": REGISTRY, "EDGE_WORKSPACE": WORKSPACE}
    assert done(desk, "publish", "last", "--no-push", **told).splitlines()[-1] == "azureml:travel:1"
    assert signed_in.registry.stored("travel", "0001") is None
    assert done(desk, "publish", "2", "--no-register", **told).splitlines()[-1].startswith(f"{REGISTRY}/travel@sha256:")
    assert done(desk, "push", "2", **told).splitlines()[-1].startswith(f"{REGISTRY}/travel@sha256:")


def test_what_was_packaged_as_a_folder_is_registered_without_an_image(signed_in: Lab, desk):
    (desk.folder / "alive").mkdir()
    done(desk, "run", desk.recipe)
    done(desk, "package", "last")
    assert done(desk, "publish", "last", "--workspace", WORKSPACE, "--name", "ft-for-small").splitlines()[-1] == "azureml:ft-for-small:1"
    properties = signed_in.cloud.model("ft-for-small", "1")["properties"]
    assert (properties["edge.recipe"], properties["edge.run.build"]) == ("small", "0001-build-small")
    assert properties["edge.dataset.sha256"] and properties["edge.base_model.sha256"]


def test_another_image_of_the_same_content_is_named_on_the_same_version(signed_in: Lab, desk, home):
    publish(desk)
    tag = OwnImage("runtime", "cpu").tag(home.bench.settings)
    home.engine.known.pop(tag)
    home.engine.add_base(tag, [b"python" * 50, b"a newer server"])
    newer = package(home.bench, home.build)
    release, model = publish(desk)
    assert model == "azureml:travel:1" and newer.layout.manifest != home.layout.manifest
    assert signed_in.cloud.model("travel", "1")["tags"]["edge.image.cpu"].split() == [newer.layout.manifest, home.layout.manifest]
    for image in (home.layout.manifest, release):
        assert json.loads(done(desk, "models", "--image", image, "--workspace", WORKSPACE, "--json"))


def test_a_registry_of_models_takes_one_too(signed_in: Lab, desk, home):
    release, model = done(desk, "publish", "last", "--registry", REGISTRY, "--model-registry", "labmodels").splitlines()[-2:]
    assert model.startswith("azureml://registries/labmodels/models/travel/versions/1")
    assert f"made by {desk.run().id}" in done(desk, "show", model)


def test_no_secret_is_left_behind(signed_in: Lab, desk, home):
    publish(desk)
    bearers = {call.bearer for front in (signed_in.registry, signed_in.cloud, signed_in.blobs) for call in front.calls if call.bearer}
    assert bearers
    secrets = {SERVICE_PRINCIPAL["AZURE_CLIENT_SECRET"], signed_in.cloud.resources.key, "sig=", *bearers}
    files = [path for path in desk.folder.rglob("*") if path.is_file() and not path.is_relative_to(desk.program)]
    written = {path: path.read_bytes() for path in files if "blobs" not in path.parts and path.suffix != ".data"}
    assert any(path.name == "events.jsonl" for path in written)
    assert not [path for path, content in written.items() for secret in secrets if secret.encode() in content]


def test_nobody_who_is_not_signed_in_publishes(lab: Lab, desk, home):
    ended = desk.edge("publish", "last", *WHERE)
    assert ended.returncode == ExitCode.CLOUD and "edge login" in ended.stderr
    assert written(lab) == []
