"""A model into a registry of Azure ML that belongs to no workspace, with the same care: the resource manager lends a place for the files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.model_registry import model_registry
from deploy.model_upload import BLOCK
from tests.azure.faults import Fault
from tests.azure.registering import BLOCKS, CARD, PROGRAM, contents, register, written
from tests.cli.desk import until
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelRegistry, Moved
from toolkit.errors import CloudError, PublishError, RightsMissing, VersionTaken
from toolkit.settings import Settings

PLACE = "azureml://registries/labmodels"


@pytest.fixture
def store(signed_in) -> ModelRegistry:
    return model_registry(Settings(home=Path()), PLACE)


@pytest.fixture
def folder(tmp_path) -> Path:
    return written(
        tmp_path / "content", {"device.json": b"{}", "model/é": os.urandom(300_000), "model/.gitignore": b"*", "model/empty": b""}
    )


def test_a_model_goes_into_a_registry_and_comes_back_byte_for_byte(signed_in, store, folder, tmp_path):
    signed_in.cloud.plane.polls = 2
    told: list[Moved] = []
    made = register(store, folder, told=told)
    assert made.id == "azureml://registries/labmodels/models/ft-for-travel/versions/1"
    assert (dict(made.tags), made.properties["edge.content.sha256"]) == ({"stage": "trial"}, folder_digest(folder))
    assert told[-1].done == told[-1].total > 300_000
    store.download(made, tmp_path / "fetched", lambda _: None)
    assert contents(tmp_path / "fetched") == contents(folder)
    assert store.find(CARD.name) == made == store.listed()[0]


def test_a_registry_takes_versions_that_a_workspace_does_not(signed_in, store, folder):
    assert register(store, folder, replace(CARD, version="1.0-rc.1")).version == "1.0-rc.1"
    with pytest.raises(PublishError, match="'1/2' cannot be a model's version in a registry."):
        register(store, folder, replace(CARD, version="1/2"))


def test_the_same_content_again_moves_nothing_and_new_tags_are_added(signed_in, store, folder):
    register(store, folder)
    signed_in.blobs.forget_calls()
    card = replace(CARD, version="")
    assert register(store, folder, card).version == "1"
    assert dict(register(store, folder, replace(card, tags={"owner": "Ada"})).tags) == {"stage": "trial", "owner": "Ada"}
    assert signed_in.blobs.requests == []
    (folder / "device.json").write_bytes(b"[]")
    assert register(store, folder, card).version == "2"


def test_a_version_with_other_content_is_refused_before_any_byte(signed_in, store, folder):
    register(store, folder)
    (folder / "device.json").write_bytes(b"[]")
    signed_in.blobs.forget_calls()
    with pytest.raises(VersionTaken, match="ft-for-travel:1 is there with other content."):
        register(store, folder)
    assert signed_in.blobs.requests == []


def test_a_killed_upload_goes_on_at_the_block(signed_in, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(6 * BLOCK), "small": b"1"})
    argv = [sys.executable, "-c", PROGRAM, PLACE, str(folder), CARD.name, ""]
    paused = signed_in.blobs.fault(Fault("PUT", BLOCKS, pause_after=BLOCK // 2, skip=1))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as killed:
        assert paused.reached.wait(60)
        until(lambda: sum(call.status == 201 for call in signed_in.blobs.asked("PUT") if call.query.get("comp") == "block") == 5)
        killed.send_signal(signal.SIGKILL)
    signed_in.blobs.reset()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    *told, made = done.stdout.splitlines()
    assert (done.returncode, made) == (0, "azureml://registries/labmodels/models/ft-for-travel/versions/1"), done.stderr
    assert int(told[-1].split()[1]) >= 5 * BLOCK and signed_in.blobs.bytes_in < 1.1 * BLOCK


def test_a_sas_that_expires_in_mid_upload_is_lent_anew(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(3 * BLOCK)})
    signed_in.blobs.fault(Fault("PUT", BLOCKS, 403, {"x-ms-error-code": "AuthenticationFailed"}, skip=1))
    made = register(store, folder)
    assert len(signed_in.cloud.asked("POST", "startPendingUpload")) == 2
    store.download(made, tmp_path / "fetched", lambda _: None)
    assert contents(tmp_path / "fetched") == contents(folder)


def test_a_registry_that_is_not_there_or_not_ours_is_told(signed_in, store, folder):
    with pytest.raises(CloudError, match="Azure does not have the registry nowhere: "):
        register(model_registry(Settings(home=Path()), "azureml://registries/nowhere"), folder)
    signed_in.cloud.deny_actions("/registries/labmodels", "*/write")
    with pytest.raises(RightsMissing) as refused:
        register(store, folder)
    assert refused.value.hint == "Ask its owner for the role AzureML Registry User on it."


@pytest.mark.parametrize("body", [b"{}", b'{"blobReferenceForConsumption": {"blobUri": "http://elsewhere/x"}}'])
def test_a_place_that_is_none_is_told(signed_in, store, folder, body):
    signed_in.cloud.fault(Fault("POST", "startPendingUpload", 200, {"Content-Type": "application/json"}, body))
    with pytest.raises(CloudError, match="The registry labmodels names no place for the files."):
        register(store, folder)
