"""publish and push against a registry of one's own, on a machine that has nothing of Azure's: what a person without a cloud does."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.packaged_home import Packaged, packaged_home
from toolkit.core.engine import Credentials
from toolkit.core.reference import parse
from toolkit.core.referrers import attach, attached, content_of
from toolkit.core.registry_session import Session
from toolkit.errors import ExitCode, PublishError

NO_AZURE = """\
import importlib.machinery
find = importlib.machinery.PathFinder.find_spec
def without_azure(name, path=None, target=None):
    return None if name.partition(".")[0] in ("azure", "msal") else find(name, path, target)
importlib.machinery.PathFinder.find_spec = without_azure
"""


@pytest.fixture
def home(desk: Desk) -> Packaged:
    return packaged_home(desk.home)


@pytest.fixture
def machine(desk: Desk, registry, tmp_path: Path) -> dict[str, str]:
    """What the environment of a machine without Azure holds, for one who knows the registry's password."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_AZURE)
    access = {"EDGE_REGISTRY_USERNAME": registry.user, "EDGE_REGISTRY_PASSWORD": registry.password}
    return {"PYTHONPATH": f"{tmp_path / 'site'}", **access}


def session(registry, repository: str = "travel") -> Session:
    return Session(parse(f"{registry.address}/{repository}"), Credentials(registry.user, registry.password))


def test_an_image_is_published_without_azure_and_without_an_engine(desk, home, registry, machine):
    done = desk.edge("publish", "last", "--registry", f"{registry.address}/travel", **machine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{registry.address}/travel@{home.layout.manifest}"
    assert [step["kind"] for step in desk.run().request["steps"]] == ["push", "verify"]


def test_a_second_publishing_moves_nothing(desk, home, registry, machine):
    arguments = ["publish", home.name, "--registry", f"{registry.address}/travel"]
    assert desk.edge(*arguments, **machine).returncode == 0
    stored = registry.stored_bytes()
    done = desk.edge(*arguments, **machine)
    assert done.returncode == 0 and registry.stored_bytes() == stored
    assert desk.run().state().steps["push"].metrics["layers_pushed"] == 0


def test_the_registry_of_the_settings_takes_the_recipes_name(desk, home, registry, machine):
    for number, command in enumerate((["push", "2"], ["publish", "2"])):
        done = desk.edge(*command, EDGE_REGISTRY=f"{registry.address}/team{number}", **machine)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith(f"{registry.address}/team{number}/travel@sha256:")


def test_the_plan_shows_what_would_move_and_moves_nothing(desk, home, registry, machine):
    before = registry.stored_bytes()
    done = desk.edge("publish", home.name, "--registry", f"{registry.address}/planned", "--plan", **machine)
    assert done.returncode == 0, done.stderr
    assert "model" in done.stdout and "missing" in done.stdout and "move to" in done.stderr
    assert registry.stored_bytes() == before and len(desk.runs()) == 2


def test_a_plan_is_json_for_programs(desk, home, registry, machine):
    done = desk.edge("publish", home.name, "--registry", f"{registry.address}/planned", "--plan", "--json", **machine)
    plan = json.loads(done.stdout)
    assert plan["push"]["identity"] == home.layout.config and plan["rights"] == [] and plan["version"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--workspace", "s/g/w"], ExitCode.CLOUD, "-m pip install "),
        (["--workspace", "s/w"], ExitCode.PUBLISH, "names no workspace"),
        (["--workspace", "s/g/w", "--model-registry", "x"], ExitCode.USAGE, "two places"),
        (["--no-register", "--workspace", "s/g/w"], ExitCode.USAGE, "leaves nothing"),
        (["--no-push", "--no-register"], ExitCode.PUBLISH, "nowhere to publish to"),
        (["--registry", "127.0.0.1:1/travel", "--tag", "x"], ExitCode.USAGE, "KEY=VALUE"),
    ],
)
def test_what_cannot_be_done_says_why_and_how_else(desk, home, machine, arguments, code, told):
    done = desk.edge("publish", home.name, *arguments, **machine)
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stderr


def test_azures_own_registry_needs_its_libraries(desk, home, machine):
    nobody = {**machine, "EDGE_REGISTRY_USERNAME": "", "EDGE_REGISTRY_PASSWORD": ""}
    done = desk.edge("publish", home.name, "--registry", "labacr.azurecr.io", **nobody)
    assert done.returncode == ExitCode.CLOUD, done.stdout + done.stderr
    assert "[azure]" in done.stderr and len(desk.runs()) == 2


def test_without_the_libraries_there_is_nothing_to_sign_out_of(desk, machine):
    done = desk.edge("logout", **machine)
    assert done.returncode == 0 and "no sign-in of ours" in done.stderr, done.stderr


def test_a_refused_password_ends_with_the_code_of_publishing_and_the_right_one_goes_on(desk, home, registry, machine):
    wrong = {**machine, "EDGE_REGISTRY_PASSWORD": "wrong"}
    refused = desk.edge("publish", home.name, "--registry", f"{registry.address}/denied", **wrong)
    assert refused.returncode == ExitCode.PUBLISH and "edge resume" in refused.stderr
    assert desk.edge("resume", "last", **machine).returncode == 0
    assert "wrong" not in "".join(path.read_text("utf-8", "replace") for path in desk.run().folder.iterdir() if path.is_file())


def test_the_image_in_the_registry_tells_what_it_came_from(desk, home, registry, machine):
    assert desk.edge("publish", home.name, "--registry", f"{registry.address}/told", **machine).returncode == 0
    url = f"http://{registry.address}/v2/told/manifests/{home.layout.manifest}"
    password = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    password.add_password(None, url, registry.user, registry.password)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(password))
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    annotations = json.load(opener.open(request))["annotations"]
    assert annotations["edge-toolkit.run.build"] == home.build.id and annotations["edge-toolkit.dataset.sha256"]


def test_what_lies_beside_an_image_is_found_by_its_digest_in_a_registry_without_a_list_of_its_own(desk, home, registry, machine):
    assert desk.edge("publish", home.name, "--registry", f"{registry.address}/travel", **machine).returncode == 0
    image, kind = home.layout.manifest, "application/vnd.example.note.v1+json"
    talk = session(registry)
    first = attach(talk, image, kind, b'{"model": "azureml:travel:1"}', {"model": "azureml:travel:1"})
    again = attach(talk, image, kind, b'{"model": "azureml:travel:1"}', {"model": "azureml:travel:1"})
    other = attach(talk, image, kind, b'{"model": "azureml:travel:2"}', {"model": "azureml:travel:2"})
    assert again == first
    assert attached(talk, image, kind) == [first, other] and attached(talk, image, "application/x") == []
    assert content_of(talk, other) == b'{"model": "azureml:travel:2"}'
    talk.close()


def test_nothing_is_laid_beside_an_image_that_is_not_there(registry):
    talk = session(registry, "nowhere")
    with pytest.raises(PublishError, match="does not hold sha256:aaaa"):
        attach(talk, "sha256:" + "a" * 64, "application/x", b"{}", {})
    talk.close()


def test_every_digest_of_a_published_image_leads_to_its_run(desk, home, registry, machine):
    released = desk.edge("publish", home.name, "--registry", f"{registry.address}/travel", **machine).stdout.splitlines()[-1]
    model = next(made.sha256 for made in home.run.state().artifacts if made.kind == "model")
    for wanted in (home.layout.config, home.layout.manifest, released, f"sha256:{model}", home.layout.config[:19]):
        done = desk.edge("show", wanted)
        assert done.returncode == 0, done.stderr
        first, second, *_ = done.stdout.splitlines()
        assert first.endswith(f"made by {home.run.id}") and home.build.id in second
        assert "0003-publish-travel" in done.stdout or wanted == f"sha256:{model}"
        assert json.loads(desk.edge("show", wanted, "--json").stdout)["id"] == home.run.id


def test_a_digest_that_no_run_knows_is_told_so(desk, home):
    done = desk.edge("show", "sha256:" + "0" * 64)
    assert done.returncode == ExitCode.RUN and "No run of this home knows" in done.stderr
