"""What we may do is known before any byte moves, and what we may not is named with its role."""

from __future__ import annotations

import pytest

from tests.azure.arm import ACR, BLOBS, ML, SUBSCRIPTION
from tests.azure.faults import Fault
from toolkit import settings
from toolkit.core.cloud import Right, Workspace
from toolkit.core.rights import lacking, needed
from toolkit.wiring import make_workbench

LAB = Workspace(SUBSCRIPTION, "team", "lab")
PUSH, REGISTER = f"{ACR}/push/write", f"{ML}/workspaces/models/versions/write"


def rights(workspace: Workspace | None = LAB, registry: str = "labacr.azurecr.io", repository: str = "travel") -> dict[str, Right]:
    return {right.name: right for right in make_workbench(settings.load({})).cloud().rights(workspace, registry, repository)}


def moved(lab) -> list[tuple[str, str]]:
    """Whatever could have brought something there."""
    return [asked for front in (lab.registry, lab.blobs) for asked in front.requests if asked[0] in ("PUT", "PATCH")]


def test_who_may_do_all_is_told_so(signed_in):
    found = rights()
    assert {name: right.is_held for name, right in found.items()} == {"register models": True, "push images": True}
    assert moved(signed_in) == []


def test_blob_rights_are_asked_only_where_files_are_reached_by_who_we_are(signed_in):
    signed_in.cloud.default_store = "by_identity"
    assert rights()["write its files"] == Right("write its files", "storage account labstore", "Storage Blob Data Contributor", True)
    signed_in.cloud.deny_actions("labstore", f"{BLOBS}/containers/blobs/write")
    assert rights()["write its files"].is_held is False
    signed_in.cloud.default_store = "by_key"
    assert "write its files" not in rights()


def test_each_missing_right_is_named_with_its_role(signed_in):
    signed_in.cloud.deny_actions("labacr", PUSH)
    signed_in.cloud.deny_actions("workspaces/lab", REGISTER)
    found = rights()
    assert {right.role: right.is_held for right in found.values()} == {"AzureML Data Scientist": False, "AcrPush": False}
    error = lacking(list(found.values()), "ada")
    assert error.exit_code == 9 and "AcrPush on the registry labacr.azurecr.io" in error.hint
    assert "AzureML Data Scientist on the workspace lab" in error.hint
    assert moved(signed_in) == []


def test_a_registry_that_hides_from_lists_is_found_out_by_a_try_that_is_taken_back(signed_in):
    signed_in.cloud.resources.hides_registries = True
    assert rights()["push images"].is_held is True
    begun, ended = signed_in.registry.asked("POST", "/blobs/uploads/"), signed_in.registry.asked("DELETE", "/blobs/uploads/")
    assert [call.status for call in begun].count(202) == 1 and ended and moved(signed_in) == []
    signed_in.cloud.deny_actions("labacr", PUSH)
    assert rights()["push images"].is_held is False


def test_a_registry_with_rights_by_repository_wants_another_role(signed_in):
    signed_in.cloud.resources.registry_mode = "AbacRepositoryPermissions"
    right = rights()["push images"]
    assert right.role == "Container Registry Repository Writer"


def test_rights_by_repository_are_tried_at_the_very_repository(signed_in):
    signed_in.cloud.resources.registry_mode = "AbacRepositoryPermissions"
    signed_in.cloud.allowed |= {"*"}  # an owner, whose actions say nothing about data there
    assert rights()["push images"].is_held is True
    assert any(call.status == 202 for call in signed_in.registry.asked("POST", "/blobs/uploads/"))
    signed_in.cloud.deny_actions("labacr", PUSH)
    right = rights()["push images"]
    assert (right.is_held, right.role) == (False, "Container Registry Repository Writer") and right.why


def test_who_may_not_read_the_keys_of_the_storage_needs_a_role_on_it(signed_in):
    signed_in.cloud.default_store = "by_key"
    signed_in.cloud.deny_actions("workspaces/lab", f"{ML}/workspaces/datastores/listSecrets/action")
    assert rights()["write its files"].is_held is True
    signed_in.cloud.deny_actions("labstore", f"{BLOBS}/containers/blobs/write")
    right = rights()["write its files"]
    assert (right.is_held, right.role) == (False, "Storage Blob Data Contributor")


def test_a_role_that_was_given_for_the_container_alone_is_seen(signed_in):
    signed_in.cloud.default_store = "by_identity"
    rights()
    asked = [path for _, path in signed_in.cloud.requests if path.endswith("/permissions") and "labstore" in path]
    assert asked and all("/blobServices/default/containers/" in path for path in asked)


def test_a_rights_service_that_answers_garbage_leaves_it_unknown_and_says_why(signed_in):
    signed_in.cloud.fault(Fault("GET", "/permissions", 200, {"Content-Type": "text/html"}, b"<html>proxy</html>", times=99))
    found = rights(repository="")
    assert {right.is_held for right in found.values()} == {None} and all(right.why for right in found.values())


def test_a_workspace_that_is_not_there_for_us_is_no_right(signed_in):
    signed_in.cloud.allowed.clear()
    found = rights(registry="")
    assert [right.is_held for right in found.values()] == [False]


def test_a_plain_registry_needs_no_cloud():
    assert needed(make_workbench(settings.load({})), "127.0.0.1:5000/travel:1", "") == []


@pytest.mark.parametrize("store", ["", "azureml://registries/labmodels"])
def test_only_what_is_asked_for_is_asked_about(signed_in, store):
    found = needed(make_workbench(settings.load({})), "labacr.azurecr.io/travel:1", store)
    assert [right.name for right in found] == ["push images"]
