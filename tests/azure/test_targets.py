"""Where things can go, as Azure lists it; what was chosen is kept in the person's own settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.azure.arm import OTHER_SUBSCRIPTION, SUBSCRIPTION
from tests.azure.faults import Fault
from toolkit import settings
from toolkit.core.choices import workspace_of
from toolkit.errors import CloudError
from toolkit.wiring import make_workbench

LAB = f"{SUBSCRIPTION}/team/lab"


def edge(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); from toolkit.cli import main; main()", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=cwd)


def test_everything_the_account_sees_is_listed_over_all_groups_and_pages(signed_in):
    signed_in.cloud.resources.page = 1
    found = make_workbench(settings.load({})).cloud().targets()
    assert [one.id for one in found.subscriptions] == [OTHER_SUBSCRIPTION, SUBSCRIPTION]  # by name: Empty, Lab
    places = {one.id: (one.location, one.registry, one.storage) for one in found.workspaces}
    assert places[LAB] == ("eastus", "labacr.azurecr.io", "labstore")
    assert {id_.rpartition("/")[2] for id_ in places} == {"lab", "lab-dev", "lab-eu"}
    assert [one.login_server for one in found.registries] == ["labacr.azurecr.io"]
    assert found.problems == ()


def test_what_cannot_be_listed_is_told_and_the_rest_is_there(signed_in):
    signed_in.cloud.fault(
        Fault(
            "GET",
            "/providers/Microsoft.ContainerRegistry/registries",
            403,
            body=b'{"error": {"code": "AuthorizationFailed", "message": "No."}}',
            times=2,
        )
    )
    found = make_workbench(settings.load({})).cloud().targets()
    assert len(found.workspaces) == 3 and found.registries == ()
    assert len(found.problems) == 2 and "Lab: registries cannot be listed: (AuthorizationFailed) No." in found.problems
    assert {one.registry for one in found.workspaces} == {"", "labacr.azurecr.io"}


def test_a_cloud_that_does_not_list_subscriptions_is_an_error(signed_in):
    signed_in.cloud.fault(Fault("GET", r"^/subscriptions(\?|$)", 403, times=9))
    with pytest.raises(CloudError, match="does not list your subscriptions"):
        make_workbench(settings.load({})).cloud().targets()


def test_a_page_of_a_proxy_in_place_of_the_lists_is_told(signed_in):
    page = {"Content-Type": "text/html"}
    signed_in.cloud.fault(Fault("GET", "/subscriptions[?]", 200, page, b"<html>proxy</html>"))
    with pytest.raises(CloudError, match="does not list your subscriptions"):
        make_workbench(settings.load({})).cloud().targets()
    signed_in.cloud.fault(Fault("GET", "/workspaces[?]", 200, page, b"<html>proxy</html>", times=2))
    found = make_workbench(settings.load({})).cloud().targets()
    assert found.workspaces == () and len(found.problems) == 2 and found.registries


def test_a_busy_cloud_is_asked_again(signed_in):
    signed_in.cloud.fault(Fault("GET", "/workspaces", 503, {"Retry-After": "0"}, times=2))
    assert len(make_workbench(settings.load({})).cloud().targets().workspaces) == 3


def test_what_is_chosen_is_marked_and_kept_beside_the_persons_own_words(signed_in, tmp_path):
    file = tmp_path / ".config" / "edge-toolkit" / "settings.toml"
    file.parent.mkdir(parents=True)
    file.write_text('# mine\ntheme = "dark"\n')
    chosen = edge("targets", "--workspace", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/team/providers/Microsoft.MachineLearningServices/workspaces/lab",
                  "--registry", "labacr.azurecr.io/team/")  # fmt: skip
    assert chosen.returncode == 0, chosen.stderr
    assert file.read_text() == f'# mine\ntheme = "dark"\nworkspace = "{LAB}"\nregistry = "labacr.azurecr.io/team"\n'
    listed = edge("targets")
    assert [line.split()[1] for line in listed.stdout.splitlines() if line.startswith("*")] == [LAB, "labacr.azurecr.io"]
    told = json.loads(edge("targets", "--json").stdout)
    assert told["chosen"] == {"workspace": LAB, "registry": "labacr.azurecr.io/team"}
    assert edge("targets", "--forget").returncode == 0
    assert file.read_text() == '# mine\ntheme = "dark"\n'


@pytest.mark.parametrize(
    ("option", "value"), [("--workspace", "lab"), ("--registry", "travel"), ("--registry", "https://labacr.azurecr.io")]
)
def test_a_choice_that_can_be_none_is_refused(lab, tmp_path, option, value):
    done = edge("targets", option, value)
    assert done.returncode == 8 and value in done.stderr
    assert not (tmp_path / ".config").exists()


def test_a_settings_file_that_is_no_toml_is_left_alone(lab, tmp_path):
    file = tmp_path / ".config" / "edge-toolkit" / "settings.toml"
    file.parent.mkdir(parents=True)
    file.write_text("theme = dark\n")
    done = edge("targets", "--registry", "labacr.azurecr.io")
    assert done.returncode == 1 and str(file) in done.stderr and file.read_text() == "theme = dark\n"


def test_a_compute_instances_own_workspace_is_taken_unless_another_was_chosen(tmp_path):
    folder = tmp_path / "cloudfiles" / "code" / "Users" / "ada"
    folder.mkdir(parents=True)
    named = {"subscription_id": SUBSCRIPTION, "resource_group": "team", "workspace_name": "lab"}
    (tmp_path / "cloudfiles" / "config.json").write_text(json.dumps(named))
    assert workspace_of(settings.load({}), folder) == LAB
    assert workspace_of(settings.load({"EDGE_WORKSPACE": "a/b/c"}), folder) == "a/b/c"
    (tmp_path / "cloudfiles" / "config.json").write_text('{"workspace_name": 3}')
    assert workspace_of(settings.load({}), folder) == ""


def test_nobody_signed_in_is_told_with_the_way(lab):
    done = edge("targets")
    assert done.returncode == 9 and "edge login" in done.stderr
