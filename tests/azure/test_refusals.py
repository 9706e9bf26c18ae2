"""What Azure does not give is told with its reason and the way out, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.azure.conftest import aim_at
from toolkit import settings
from toolkit.core.basemodel import model_folder
from toolkit.core.recipe import BaseModelChoice
from toolkit.errors import ModelError
from toolkit.wiring import make_workbench

REGISTRY = "azureml://registries/azureml/models/phi/versions/1"


def refused(desk, source: str) -> tuple[str, str]:
    """Message and way out; the exit code of such an error is 3."""
    bench = make_workbench(replace(settings.load({}), home=desk.home))
    with pytest.raises(ModelError) as raised:
        model_folder(bench, BaseModelChoice(source=source), print)
    assert list(bench.settings.models.iterdir()) == []
    return raised.value.message, raised.value.hint


def test_a_version_that_is_not_there_is_told_by_check(signed_in, desk):
    source = signed_in.register("known", {"config.json": b"{}"})
    aim_at(desk, source.replace("versions/1", "versions/7"))
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 3
    assert checked.stderr.splitlines()[1:] == [
        "edge: Azure ML does not have known, version 7, of workspace lab of team: "
        "Model container with name: known and version 7 not found.",
        "      Correct [model] source in the recipe.",
    ]
    assert list((desk.home / "models").iterdir()) == []


def test_a_machine_where_nobody_is_signed_in_is_told_by_check(lab, desk):
    aim_at(desk, lab.register("known", {"config.json": b"{}"}))
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 3
    assert checked.stderr.splitlines()[1:] == [
        "edge: Nobody is signed in to Azure here.",
        "      Run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.",
    ]
    assert list((desk.home / "models").iterdir()) == []
    asked = {request.partition("?")[0] for request in lab.proxy.refused}
    assert asked == {"GET http://169.254.169.254/metadata/identity/oauth2/token"}  # is this a machine of Azure's?
    lab.proxy.refused.clear()


def test_an_unknown_workspace_is_told(signed_in, desk):
    source = signed_in.register("known", {"config.json": b"{}"}).replace("workspaces/lab", "workspaces/bal")
    message, hint = refused(desk, source)
    assert message.startswith("Azure ML does not have known, version 1, of workspace bal of team: The Resource ")
    assert hint == "Correct [model] source in the recipe."


def test_an_unknown_registry_is_told(signed_in, desk):
    message, _ = refused(desk, REGISTRY)
    assert message.startswith("Azure ML does not have phi, version 1, of registry azureml: ")


def test_a_token_that_is_over_is_told(signed_in, desk):
    source = signed_in.register("known", {"config.json": b"{}"})
    signed_in.cloud.token_seconds = -60
    message, hint = refused(desk, source)
    assert message == "Azure did not accept the sign-in: The access token is invalid: Signature has expired."
    assert hint == "Sign in anew with `az login`, to the tenant of this subscription."


def test_a_wrong_secret_is_told(signed_in, desk, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another")
    message, hint = refused(desk, signed_in.register("known", {"config.json": b"{}"}))
    assert message.startswith("Azure gave no token for AZURE_CLIENT_ID: ") and "AADSTS7000215: Invalid client secret" in message
    assert hint.startswith("Correct AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET")


def test_a_storage_that_refuses_its_reader_is_told(signed_in, desk):
    source = signed_in.register("locked", {"config.json": b"{}"}, "by_old_sas")
    message, hint = refused(desk, source)
    assert message.startswith("Azure refused locked, version 1, of workspace lab of team: Server failed to authenticate the request.")
    assert hint == "Ask for the roles AzureML Data Scientist on the workspace and Storage Blob Data Reader on its storage."


def test_a_version_whose_bytes_are_gone_is_told(signed_in, desk):
    source = signed_in.register("gone", {"config.json": b"{}"})
    signed_in.container.delete_blob("LocalUpload/gone/upload/config.json")
    message, hint = refused(desk, source)
    assert message == "The model holds no files: LocalUpload/gone/upload in labstore/azureml-blobstore-lab is empty."
    assert hint == "Register the model anew."


@pytest.mark.parametrize("path", ["a\\..\\..\\..\\sly", "/tmp/sly"])
def test_a_file_that_would_lie_outside_the_folder_is_told(signed_in, desk, path):
    source = signed_in.register("sly", {"config.json": b"{}", path: b"1"})
    message, _ = refused(desk, source)
    assert message.startswith("The model holds a file that would lie outside its folder: LocalUpload/sly/upload/")
    signed_in.container.delete_blob(f"LocalUpload/sly/upload/{path}")


def test_files_that_cannot_stand_in_one_folder_are_told(signed_in, desk):
    message, hint = refused(desk, signed_in.register("odd", {"weights": b"1", "weights/1": b"1"}))
    assert message.startswith("odd, version 1, of workspace lab of team cannot be written: ") and "weights" in message
    assert hint == "Check the folder and the room on its disk."
