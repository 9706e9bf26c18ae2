"""Models that are registered: listed, found, downloaded and compared."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.model_download import PIECE
from tests.azure.faults import Fault
from tests.azure.registering import (
    CARD,
    PLACE,
    contents,
    open_store,
    register,
    small_content,
    written,
)
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelRegistry, Moved
from toolkit.errors import CloudError, PublishError, RightsMissing


@pytest.fixture
def store(signed_in) -> ModelRegistry:
    return open_store(PLACE)


@pytest.fixture
def folder(tmp_path) -> Path:
    return small_content(tmp_path / "content")


def test_models_are_listed_newest_first_over_several_pages(signed_in, store, folder):
    signed_in.cloud.resources.page = 2
    for name in ("b-model", "a-model", "c-model"):
        for version in ("1", "2", "3"):
            register(store, folder, replace(CARD, name=name, version=version))
    assert [(model.name, model.version) for model in store.listed()] == [("c-model", "3"), ("a-model", "3"), ("b-model", "3")]
    assert [model.version for model in store.listed("a-model")] == ["3", "2", "1"]
    assert store.find("a-model").version == "3" and store.find("a-model", "2").version == "2" and store.find("none") is None
    assert store.listed("none") == [] and store.find("a-model").created > 0


def test_a_download_that_was_cut_goes_on_at_the_piece_and_is_compared(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(5 * PIECE + 7), "a/empty": b"", "a/é": b"1"})
    made, target = register(store, folder), tmp_path / "fetched"
    signed_in.blobs.fault(Fault("GET", "/big", 403, {"x-ms-error-code": "AuthorizationPermissionMismatch"}, skip=3))
    with pytest.raises(RightsMissing):
        store.download(made, target, lambda _: None)
    before = signed_in.blobs.bytes_out
    told: list[Moved] = []
    store.download(made, target, told.append)
    assert contents(target) == contents(folder)
    assert told[0].skipped >= 3 * PIECE and told[-1].done == told[-1].total
    assert signed_in.blobs.bytes_out - before < 2.2 * PIECE


def test_what_the_store_holds_instead_of_what_was_registered_is_told(signed_in, store, folder, tmp_path):
    made = register(store, folder)
    signed_in.container.upload_blob(f"models/{CARD.name}/{folder_digest(folder)}/device.json", b"[]", overwrite=True)
    with pytest.raises(CloudError, match="What ft-for-travel:1 holds is not what was registered."):
        store.download(made, tmp_path / "fetched", lambda _: None)


def test_a_folder_with_files_of_a_persons_own_is_left_alone(store, folder, tmp_path):
    made, target = register(store, folder), written(tmp_path / "mine", {"notes.txt": b"mine"})
    with pytest.raises(PublishError, match="holds other files: notes.txt"):
        store.download(made, target, lambda _: None)
    assert contents(target) == {"notes.txt": b"mine"}
