"""Models of Azure ML come here whole: Azure's own clients, unpatched, against the lab."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.azure.conftest import aim_at
from tests.azure.lab import address, path_in
from toolkit import settings
from toolkit.core.basemodel import model_folder
from toolkit.core.content import folder_digest
from toolkit.core.recipe import BaseModelChoice
from toolkit.errors import ModelError
from toolkit.wiring import make_workbench

BIG = 96 << 20
FETCH = """
import re, sys
import azure.ai.ml, azure.identity, azure.storage.blob
from deploy.azureml import fetch_model
from toolkit import settings
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
before = peak()
fetch_model(settings.load({}), sys.argv[1], sys.argv[2], lambda said: print(said, file=sys.stderr))
print(peak() - before)
"""


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fetch(home: Path, source: str, said: list[str] | None = None) -> Path:
    bench = make_workbench(replace(settings.load({}), home=home))
    return model_folder(bench, BaseModelChoice(source=source), (said if said is not None else []).append)


@pytest.mark.parametrize("store", ["by_sas", "by_key", "by_identity", "for_owners"])
def test_a_model_comes_byte_for_byte_whatever_its_datastore_asks_for(signed_in, tmp_path, store):
    files = {
        "README.md": b"",
        "model/config.json": b"{}",
        "model/tokenizer.json": b"[]",
        "model/weights/é 1.safetensors": os.urandom(5 << 20),
    }
    source = signed_in.register(store, files, store)
    signed_in.container.upload_blob(f"LocalUpload/{store}/upload-2/other.json", b"of a neighbour whose name goes on", overwrite=True)
    bench = make_workbench(replace(settings.load({}), home=tmp_path / "home"))
    said: list[str] = []
    folder = model_folder(bench, BaseModelChoice(source=source), said.append)
    assert folder.name == "model" and contents(folder.parent) == files
    assert [path.name for path in bench.settings.models.iterdir()] == [folder.parent.name]
    assert said[0] == f"Fetching {source}" and said[-1] == "100 % of 5.2 MB, at é 1.safetensors"


def test_check_fetches_the_model_once_and_looks_at_it(signed_in, desk, monkeypatch):
    source = signed_in.register("small", {f"upload/{name}": content for name, content in contents(desk.project / "model").items()})
    aim_at(desk, source)
    shutil.rmtree(desk.project / "model")
    checked = desk.edge("check", desk.recipe)
    first, *tenths = checked.stderr.splitlines()
    assert (checked.returncode, first) == (0, f"Fetching {source}")
    assert all(re.match(r"\d+ % of 454 B, at ", line) for line in tenths), tenths
    assert f"model: {source}: LlamaForCausalLM" in checked.stdout
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    again = desk.edge("check", desk.recipe)
    assert (again.returncode, again.stderr) == (0, "")


def test_a_big_file_is_streamed_and_told_in_tenths(signed_in, tmp_path):
    content = os.urandom(BIG)
    source = signed_in.register("big", {"model.safetensors": content})
    argv = [sys.executable, "-c", FETCH, source, str(tmp_path / "big")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    tenths = [int(re.fullmatch(r"(\d+)0 % of 100.7 MB, at model.safetensors", line)[1]) for line in done.stderr.splitlines()]
    assert tenths == sorted(set(tenths)) and tenths[-1] == 10 and len(tenths) >= 2
    with open(tmp_path / "big" / "model.safetensors", "rb") as fetched:
        assert hashlib.file_digest(fetched, "sha256").hexdigest() == hashlib.sha256(content).hexdigest()
    assert int(done.stdout) < BIG / 2


def test_on_a_compute_instance_whose_identity_answers_with_an_error_the_sign_in_of_az_serves(lab, tmp_path, monkeypatch):
    source = lab.register("by-az", {"config.json": b"{}"})
    monkeypatch.setenv("MSI_ENDPOINT", f"{lab.proxy.address}/msi/token")
    monkeypatch.setenv("MSI_SECRET", "none")
    token = {"accessToken": lab.cloud.token("https://management.azure.com"), "expires_on": 4102444800}
    az = tmp_path / "bin" / "az"
    az.write_text(f"#!/bin/sh\necho '{json.dumps(token)}'\n")
    az.chmod(0o755)
    bench = make_workbench(replace(settings.load({}), home=tmp_path / "home"))
    assert contents(model_folder(bench, BaseModelChoice(source=source), print)) == {"config.json": b"{}"}


def test_a_model_that_does_not_fit_on_the_disk_is_not_begun(signed_in, desk):
    aim_at(desk, signed_in.register("huge", {"config.json": b"{}"}))
    hole = signed_in.container.get_blob_client("LocalUpload/huge/upload/model.safetensors")
    hole.create_page_blob(8 << 40)  # has that size and no bytes
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 6
    assert "8.8 TB are missing and " in checked.stderr and str(desk.home / "models") in checked.stderr
    assert list((desk.home / "models").iterdir()) == []


@pytest.mark.parametrize("is_public", [False, True])
def test_a_model_of_a_registry_comes_byte_for_byte(signed_in, tmp_path, is_public):
    files = {"config.json": b"{}", "weights/model.safetensors": os.urandom(9 << 20)}
    source = signed_in.register_asset("phi", files, version="2024-11-01.rc1")
    if is_public:
        [at] = [version["properties"]["modelUri"] for version in signed_in.cloud.assets.models.names["phi"].values()]
        signed_in.cloud.assets.gives_no_secrets = True
        signed_in.container_of(at).set_container_access_policy({}, public_access="container")
    said: list[str] = []
    folder = fetch(tmp_path / "home", source, said)
    assert contents(folder) == files
    assert said[0] == f"Fetching {source}" and said[-1].startswith("100 % of 9.4 MB, at ")
    assert signed_in.leaks(tmp_path / "home", *said) == []


def test_a_data_lake_is_read_by_its_blob_endpoint(signed_in, tmp_path):
    lake = signed_in.container_of("https://labstore.blob.core.windows.net/lake/x")
    if not lake.exists():
        lake.create_container()
    lake.upload_blob("models/phi", b"", metadata={"hdi_isfolder": "true"}, overwrite=True)
    lake.upload_blob("models/phi/config.json", b"{}", overwrite=True)
    signed_in.cloud.models.put("phi", "1", {"modelUri": path_in("data_lake", "models/phi")})
    assert contents(fetch(tmp_path / "home", address("phi"))) == {"config.json": b"{}"}


def test_what_was_registered_with_its_digest_is_held_against_it(signed_in, tmp_path):
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "config.json").write_text("{}")
    source = signed_in.register("ours", {"config.json": b"{}"})
    signed_in.cloud.model("ours", "1")["properties"] = {"edge.content.sha256": folder_digest(tmp_path / "content")}
    assert contents(fetch(tmp_path / "home", source)) == {"config.json": b"{}"}
    signed_in.container.upload_blob("LocalUpload/ours/upload/config.json", b"[]", overwrite=True)
    with pytest.raises(ModelError, match="is not what was registered") as raised:
        fetch(tmp_path / "another", source)
    assert raised.value.hint == "Register the model anew, from its run."


def test_a_file_changed_after_it_was_fetched_is_noticed(signed_in, tmp_path):
    source = signed_in.register("kept", {"config.json": b"{}", "model.safetensors": b"weights"})
    folder = fetch(tmp_path / "home", source)
    os.utime(folder / "model.safetensors")
    assert fetch(tmp_path / "home", source) == folder  # another time, the same bytes
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(ModelError, match="were changed here after they were fetched: model.safetensors") as raised:
        fetch(tmp_path / "home", source)
    assert str(folder) in raised.value.hint
