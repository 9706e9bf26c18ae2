"""What Azure does not give is told with its reason and the way out, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.azure.conftest import aim_at
from tests.azure.faults import Fault
from toolkit import settings
from toolkit.core.basemodel import model_folder
from toolkit.core.recipe import BaseModelChoice
from toolkit.errors import CloudError, ModelError, RightsMissing, SignInError, ToolkitError
from toolkit.wiring import make_workbench

REGISTRY = "azureml://registries/azureml/models/phi/versions/1"


def refused(desk, source: str, kind: type[ToolkitError] = ModelError) -> tuple[str, str]:
    """Message and way out."""
    bench = make_workbench(replace(settings.load({}), home=desk.home))
    with pytest.raises(kind) as raised:
        model_folder(bench, BaseModelChoice(source=source), print)
    assert [path for path in bench.settings.models.iterdir() if not path.name.startswith(".")] == []
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
    assert checked.returncode == 9
    assert "edge: Nobody is signed in to Azure here" in checked.stderr and "`edge login`" in checked.stderr
    assert list((desk.home / "models").iterdir()) == []


def test_an_unknown_workspace_is_told(signed_in, desk):
    source = signed_in.register("known", {"config.json": b"{}"}).replace("workspaces/lab", "workspaces/bal")
    message, hint = refused(desk, source, CloudError)
    assert message.startswith("Azure does not have workspace bal: The Resource ")
    assert hint == "`edge targets` lists what you can reach."


def test_an_unknown_registry_is_told(signed_in, desk):
    message, _ = refused(desk, REGISTRY)
    assert message.startswith("Azure ML does not have phi, version 1, of registry azureml: ")


def test_a_token_that_is_over_is_told(signed_in, desk):
    source = signed_in.register("known", {"config.json": b"{}"})
    signed_in.cloud.token_seconds = -60
    message, hint = refused(desk, source, SignInError)
    assert message == "Azure did not accept the sign-in: The access token is invalid: Signature has expired."
    assert hint.startswith("`edge login` signs in anew")


def test_a_wrong_secret_is_told(signed_in, desk, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another")
    message, hint = refused(desk, signed_in.register("known", {"config.json": b"{}"}), SignInError)
    assert message.startswith("Azure gave no token for AZURE_CLIENT_ID: ") and "AADSTS7000215: Invalid client secret" in message
    assert hint.startswith("Correct AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET")


def test_a_storage_that_refuses_its_reader_is_told(signed_in, desk):
    source = signed_in.register("locked", {"config.json": b"{}"}, "by_old_sas")
    message, hint = refused(desk, source, RightsMissing)
    assert message.startswith("The SAS of datastore by_old_sas does not open the storage labstore.blob.core.windows.net (403 ")
    assert hint.startswith("Ask the workspace's owner to renew the datastore's credentials, with the rights to read and list.")
    assert signed_in.leaks(desk.home, message, hint) == []


def test_a_reader_whose_sign_in_does_not_open_the_storage_is_told_the_role_he_lacks(signed_in, desk):
    signed_in.cloud.deny_actions("labstore", "*/blobs/read")
    message, hint = refused(desk, signed_in.register("locked", {"config.json": b"{}"}, "by_identity"), RightsMissing)
    assert message.startswith("You may not read the storage labstore.blob.core.windows.net (403 ")
    assert hint == "Ask its owner for the role Storage Blob Data Reader on that storage account."


def test_a_version_whose_bytes_are_gone_is_told(signed_in, desk):
    source = signed_in.register("gone", {"config.json": b"{}"})
    signed_in.container.delete_blob("LocalUpload/gone/upload/config.json")
    message, hint = refused(desk, source)
    assert message == "The model holds no files: LocalUpload/gone/upload in labstore.blob.core.windows.net is empty."
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


@pytest.mark.parametrize("address", ["versions/latest", "labels/latest"])
@pytest.mark.parametrize("kind", ["workspace", "registry"])
def test_latest_is_refused_with_the_version_that_it_is_today(signed_in, desk, kind, address):
    register = signed_in.register if kind == "workspace" else signed_in.register_asset
    source = register("moving", {"config.json": b"{}"}, version="7").replace("versions/7", address)
    message, hint = refused(desk, source)
    assert message.endswith("is another model tomorrow; today it is version 7.")
    assert hint == f"Write {source.replace(address, 'versions/7')}"


def test_files_on_a_file_share_are_refused_with_the_way_out(signed_in, desk):
    message, hint = refused(desk, signed_in.register("shared", {"config.json": b"{}"}, "file_share"))
    assert message.startswith("The model's files lie in the datastore file_share of the kind ") and "cannot be streamed" in message
    assert "copy them here and name their folder as [model] source" in hint


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"primaryRegionResourceProviderUri": "https://elsewhere.example/"}'])
def test_no_token_goes_where_a_registry_is_not_azure_s(signed_in, desk, answer):
    signed_in.cloud.fault(Fault("GET", "/discovery", 200, {"Content-Type": "application/json"}, answer))
    message, hint = refused(desk, REGISTRY, CloudError)
    assert "is not Azure" in message and hint == "Check the proxy, if there is one."
