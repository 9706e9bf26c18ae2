"""A fetch that is cut, killed or kept waiting goes on with the bytes it has, and never mixes two versions of a file."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.azure.conftest import aim_at
from tests.azure.faults import Fault
from tests.azure.test_fetching import contents, fetch
from tests.cli.desk import until
from toolkit import settings
from toolkit.core.basemodel import model_folder
from toolkit.core.recipe import BaseModelChoice
from toolkit.errors import CloudError
from toolkit.wiring import make_workbench

PIECE = 4 << 20
MOST_BESIDE = 20_000
"""Bytes of lists and errors, beside those of files."""
FILES = {"config.json": b"{}", "model.safetensors": os.urandom(12 * PIECE + 1000)}
SIZE = sum(map(len, FILES.values()))
A_PIECE = r"model\.safetensors"


def test_a_connection_cut_within_a_piece_costs_that_piece_alone(signed_in, tmp_path):
    source = signed_in.register("cut", FILES)
    cut = signed_in.blobs.fault(Fault("GET", A_PIECE, cut_after=PIECE // 2, skip=3))
    folder = fetch(tmp_path / "home", source)
    assert cut.reached.is_set() and contents(folder) == FILES
    assert SIZE + PIECE // 2 <= signed_in.blobs.bytes_out <= SIZE + PIECE + MOST_BESIDE


@pytest.mark.parametrize("status", [429, 503])
def test_a_storage_that_asks_for_time_is_given_it(signed_in, tmp_path, status):
    source = signed_in.register("busy", FILES)
    busy = signed_in.blobs.fault(Fault("GET", A_PIECE, status, {"Retry-After": "1"}, times=2))
    folder = fetch(tmp_path / "home", source)
    assert busy.reached.is_set() and contents(folder) == FILES
    assert signed_in.blobs.bytes_out <= SIZE + MOST_BESIDE


@pytest.mark.parametrize("kind", ["workspace", "registry"])
def test_a_signature_that_expired_on_the_way_is_fetched_anew(signed_in, tmp_path, kind):
    source = signed_in.register("long", FILES) if kind == "workspace" else signed_in.register_asset("long", FILES)
    signed_in.cloud.forget_calls()
    over = signed_in.blobs.fault(Fault("GET", A_PIECE, 403, {"x-ms-error-code": "AuthenticationFailed"}, skip=4))
    assert contents(fetch(tmp_path / "home", source)) == FILES
    asked = signed_in.cloud.asked("POST", "/listSecrets" if kind == "workspace" else "/datarefs/")
    assert over.reached.is_set() and len(asked) == 2


def test_a_killed_fetch_goes_on_with_the_pieces_it_has(signed_in, desk):
    source = signed_in.register("killed", FILES)
    aim_at(desk, source)
    busy = signed_in.blobs.fault(Fault("GET", A_PIECE, 503, {"Retry-After": "60"}, skip=8, times=99))
    checking = desk.start("check", desk.recipe)
    assert busy.reached.wait(60)
    until(lambda: len(journal(desk.home)) == 9)  # config.json, and the pieces before that
    checking.send_signal(signal.SIGKILL)
    checking.wait(60)
    there = len(journal(desk.home))
    signed_in.blobs.reset()
    said: list[str] = []
    assert contents(fetch(desk.home, source, said)) == FILES
    assert signed_in.blobs.bytes_out <= SIZE - (there - 1) * PIECE + MOST_BESIDE
    assert said[1].endswith("are here already")


def test_an_interrupted_fetch_is_left_at_once_and_nothing_looks_whole(signed_in, desk):
    aim_at(desk, signed_in.register("interrupted", FILES))
    paused = signed_in.blobs.fault(Fault("GET", A_PIECE, pause_after=0, skip=2, times=8))
    checking = desk.start("check", desk.recipe)
    assert paused.reached.wait(60)
    checking.send_signal(signal.SIGINT)
    _, said = checking.communicate(timeout=60)
    paused.go.set()
    assert checking.returncode == 130 and "100 %" not in said
    assert [path.name[0] for path in (desk.home / "models").iterdir()] == ["."]


def test_a_file_that_changed_between_two_tries_is_not_mixed(signed_in, tmp_path):
    home, source = tmp_path / "home", signed_in.register("changing", FILES)
    begin_and_fail(signed_in, home, source)
    other = {**FILES, "model.safetensors": os.urandom(12 * PIECE + 1000)}
    signed_in.register("changing", other)
    assert contents(fetch(home, source)) == other


def test_a_file_that_changes_while_it_is_fetched_is_told(signed_in, tmp_path):
    source = signed_in.register("racing", FILES)
    signed_in.blobs.fault(Fault("GET", A_PIECE, 412, {"x-ms-error-code": "ConditionNotMet"}, skip=4))
    with pytest.raises(CloudError, match="model.safetensors was changed while it was fetched"):
        fetch(tmp_path / "home", source)


def test_what_the_model_no_longer_has_does_not_stay(signed_in, tmp_path):
    home, source = tmp_path / "home", signed_in.register("shrinking", {**FILES, "extra/old.txt": b"old"})
    begin_and_fail(signed_in, home, source)
    signed_in.container.delete_blob("LocalUpload/shrinking/upload/extra/old.txt")
    folder = fetch(home, source)
    assert contents(folder) == FILES and not (folder / "extra").exists()


def test_bytes_that_are_not_those_of_their_md5_are_told(signed_in, tmp_path):
    source = signed_in.register("wrong", {"config.json": b"{}"})
    from azure.storage.blob import ContentSettings

    blob = signed_in.container.get_blob_client("LocalUpload/wrong/upload/config.json")
    blob.set_http_headers(ContentSettings(content_md5=bytearray(16)))
    with pytest.raises(CloudError, match="config.json did not arrive as the storage has it"):
        fetch(tmp_path / "home", source)
    assert not [path for path in (tmp_path / "home" / "models").iterdir() if not path.name.startswith(".")]


def test_two_that_want_one_model_fetch_it_once(signed_in, desk):
    source = signed_in.register("shared", FILES)
    aim_at(desk, source)
    paused = signed_in.blobs.fault(Fault("GET", A_PIECE, pause_after=0, skip=2))
    first = desk.start("check", desk.recipe)
    assert paused.reached.wait(60)
    second = desk.start("check", desk.recipe)
    assert second.stderr.readline() == f"Waiting for another process, which fetches {source}\n"
    paused.go.set()
    first.communicate(timeout=60), second.communicate(timeout=60)
    assert signed_in.blobs.bytes_out <= SIZE + MOST_BESIDE


def begin_and_fail(lab, home: Path, source: str) -> None:
    """A fetch that a refusal ends after some pieces."""
    refused = lab.blobs.fault(Fault("GET", A_PIECE, 400, {"x-ms-error-code": "InvalidInput"}, skip=6))
    with pytest.raises(CloudError):
        model_folder(make_workbench(replace(settings.load({}), home=home)), BaseModelChoice(source=source), print)
    assert refused.reached.is_set() and len(journal(home)) >= 2


def journal(home: Path) -> list[str]:
    return [line for path in home.glob("models/.*/.edge-download") for line in path.read_text().splitlines()]
