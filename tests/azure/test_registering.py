"""A model's files into Azure ML's storage and a version on top: the real clients, unpatched, against the lab."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.model_upload import BLOCK
from tests.azure.arm import SUBSCRIPTION
from tests.azure.entra import MANAGEMENT
from tests.azure.registering import (
    CARD,
    PLACE,
    PROGRAM,
    contents,
    open_store,
    register,
    small_content,
    stored,
    written,
)
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelRegistry, Moved
from toolkit.errors import CloudError, PublishError, RightsMissing, VersionTaken


@pytest.fixture
def store(signed_in) -> ModelRegistry:
    return open_store(PLACE)


@pytest.fixture
def folder(tmp_path) -> Path:
    return small_content(tmp_path / "content")


@pytest.mark.parametrize("kind", ["by_sas", "by_key", "by_identity", "for_owners"])
def test_every_file_arrives_whatever_the_datastore_asks_for_and_whatever_an_ignore_file_says(signed_in, store, folder, tmp_path, kind):
    signed_in.cloud.default_store = kind
    told: list[Moved] = []
    made = register(store, folder, told=told)
    digest = folder_digest(folder)
    assert stored(signed_in, folder) == contents(folder)
    assert (made.id, made.type, made.description) == ("azureml:ft-for-travel:1", "custom_model", "Answers about travel")
    assert made.path.endswith(f"/datastores/workspaceblobstore/paths/models/ft-for-travel/{digest}")
    assert (dict(made.tags), dict(made.properties)) == ({"stage": "trial"}, {"edge.device": "cpu", "edge.content.sha256": digest})
    total = sum(map(len, contents(folder).values()))
    assert (told[-1].done, told[-1].total, told[-1].skipped) == (total, total, 0)
    assert set(told[-1].parts) == set(contents(folder))
    store.download(made, tmp_path / "fetched", lambda _: None)
    assert contents(tmp_path / "fetched") == contents(folder)


def test_the_same_content_again_asks_once_and_moves_nothing(signed_in, store, folder):
    register(store, folder)
    for front in (signed_in.blobs, signed_in.cloud):
        front.forget_calls()
    again = register(store, folder)
    assert again.id == "azureml:ft-for-travel:1"
    assert signed_in.blobs.requests == []
    assert {method for method, path in signed_in.cloud.requests if "/models/" in path} == {"GET"}


def test_without_a_version_the_same_content_keeps_its_number_and_other_content_gets_the_next(signed_in, store, folder):
    card = replace(CARD, version="")
    assert [register(store, folder, card).version, register(store, folder, card).version] == ["1", "1"]
    (folder / "device.json").write_bytes(b'{"format": 1}')
    assert register(store, folder, card).version == "2"
    assert [model.version for model in store.listed(CARD.name)] == ["2", "1"]


def test_the_same_bytes_under_a_new_version_move_nothing(signed_in, store, folder):
    register(store, folder)
    signed_in.blobs.forget_calls()
    told: list[Moved] = []
    made = register(store, folder, replace(CARD, version="7"), told)
    assert (made.version, signed_in.blobs.bytes_in) == ("7", 0)
    assert told[-1].skipped == told[-1].total == told[-1].done


def test_a_version_with_other_content_is_refused_before_any_byte(signed_in, store, folder):
    register(store, folder)
    (folder / "device.json").write_bytes(b'{"format": 1}')
    signed_in.blobs.forget_calls()
    with pytest.raises(VersionTaken) as refused:
        register(store, folder)
    assert refused.value.message == "ft-for-travel:1 is there with other content."
    assert signed_in.blobs.requests == []


def test_new_tags_on_the_same_content_are_added_and_those_of_others_stay(signed_in, store, folder):
    register(store, folder)
    signed_in.blobs.forget_calls()
    made = register(store, folder, replace(CARD, tags={"owner": "Ada"}, description="", properties={"edge.device": "other"}))
    assert (dict(made.tags), made.description) == ({"stage": "trial", "owner": "Ada"}, "Answers about travel")
    assert made.properties["edge.device"] == "cpu" and signed_in.blobs.requests == []


@pytest.mark.parametrize("kind", ["custom_model", "mlflow_model", "triton_model"])
def test_every_type_of_model_is_registered_as_such(signed_in, store, folder, kind):
    assert register(store, folder, replace(CARD, type=kind)).type == kind
    assert signed_in.cloud.model(CARD.name, "1")["modelType"] == kind


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (replace(CARD, name="has space"), "'has space' cannot be a model's name in Azure ML."),
        (replace(CARD, name="a" * 256), f"'{'a' * 256}' cannot be a model's name in Azure ML."),
        (replace(CARD, version="1.0"), "'1.0' cannot be a model's version in a workspace."),
        (replace(CARD, version="0"), "'0' cannot be a model's version in a workspace."),
        (replace(CARD, type="onnx"), "Azure ML knows no type 'onnx'."),
        (replace(CARD, tags={"long": "x" * 1001}), "'long' is too long for Azure ML's tags."),
    ],
)
def test_what_azure_ml_would_not_take_is_told_before_anybody_is_asked(signed_in, store, folder, card, message):
    with pytest.raises(PublishError) as refused:
        register(store, folder, card)
    assert refused.value.message == message and refused.value.hint
    assert [call.path for call in signed_in.cloud.calls if call.host == MANAGEMENT] == []


def test_an_empty_folder_is_refused(signed_in, store, tmp_path):
    (tmp_path / "content").mkdir()
    with pytest.raises(PublishError, match="There are no files in"):
        register(store, tmp_path / "content")
    assert signed_in.cloud.model(CARD.name, "1") is None


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        (
            "by_identity",
            "You may not write to the storage labstore.blob.core.windows.net (403 AuthorizationPermissionMismatch).",
            "Ask its owner for the role Storage Blob Data Contributor on that storage account.",
        ),
        (
            "for_readers",
            "The SAS of datastore workspaceblobstore does not open the storage labstore.blob.core.windows.net "
            "(403 AuthorizationPermissionMismatch).",
            "Ask the workspace's owner to renew the datastore's credentials, with the rights to read, write and list.",
        ),
        (
            "by_old_sas",
            "The SAS of datastore workspaceblobstore does not open the storage labstore.blob.core.windows.net (403 AuthorizationFailure).",
            "Ask the workspace's owner to renew the datastore's credentials, with the rights to read, write and list. "
            "If that does not help, ask for this machine's network to be let in.",
        ),
    ],
)
def test_who_may_not_write_is_told_within_five_seconds_and_before_the_bytes(signed_in, store, tmp_path, kind, message, hint):
    folder = written(tmp_path / "content", {"big": os.urandom(2 * BLOCK)})
    signed_in.cloud.default_store = kind
    signed_in.cloud.deny_actions("labstore", "*/write")
    began = time.monotonic()
    with pytest.raises(RightsMissing) as refused:
        register(store, folder)
    assert time.monotonic() - began < 5
    assert (refused.value.message, refused.value.hint) == (message, hint)
    assert signed_in.blobs.bytes_in < 10_000 and signed_in.cloud.model(CARD.name, "1") is None


def test_a_workspace_that_may_only_be_read_is_told_with_the_role(signed_in, store, folder):
    signed_in.cloud.deny_actions("/workspaces/lab", "*/models/versions/write")
    with pytest.raises(RightsMissing) as refused:
        register(store, folder)
    assert refused.value.message.startswith("You may not do this in workspace lab: ")
    assert refused.value.hint == "Ask its owner for the role AzureML Data Scientist on it."


def test_a_great_many_files_arrive(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {f"part-{number // 50}/{number}": b"%d" % number for number in range(200)})
    register(store, folder)
    names = set(signed_in.container.list_blob_names(name_starts_with="models/"))
    assert names == {f"models/{CARD.name}/{folder_digest(folder)}/{name}" for name in contents(folder)}
    signed_in.blobs.forget_calls()
    register(store, folder, replace(CARD, version="2"))
    assert {method for method, _ in signed_in.blobs.requests} == {"GET"}


def test_a_workspace_that_is_not_there_is_told(signed_in, folder):
    store = open_store(f"{SUBSCRIPTION}/team/nowhere")
    with pytest.raises(CloudError) as refused:
        register(store, folder)
    assert refused.value.message.startswith("Azure does not have workspace nowhere: ")
    assert refused.value.hint == "`edge targets` lists what you can reach."


@pytest.mark.parametrize("kind", ["file_share", "data_lake"])
def test_a_datastore_that_is_no_blob_container_is_refused_before_the_bytes(signed_in, store, folder, kind):
    signed_in.cloud.default_store = kind
    with pytest.raises(PublishError) as refused:
        register(store, folder)
    assert "The datastore workspaceblobstore is of the kind" in refused.value.message
    assert refused.value.hint.startswith("Make a blob datastore the workspace's default one")


def test_a_blob_of_another_hand_at_our_address_is_sent_again(signed_in, store, folder):
    name = f"models/{CARD.name}/{folder_digest(folder)}/device.json"
    signed_in.container.upload_blob(name, b"[]")  # as long as ours
    register(store, folder)
    assert signed_in.container.download_blob(name).readall() == b"{}"


def test_registering_the_same_again_takes_20_kb_and_not_the_second_that_the_sdk_takes_to_load(signed_in, store, folder):
    register(store, folder)
    signed_in.proxy.reset()
    argv = [sys.executable, "-c", f"{PROGRAM}print('azure.ai.ml' in sys.modules)", PLACE, str(folder), CARD.name, "1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "azureml:ft-for-travel:1\nFalse\n"
    assert signed_in.proxy.moved <= 20_000
