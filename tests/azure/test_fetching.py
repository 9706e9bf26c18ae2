"""Models of Azure ML come here whole: Azure's own clients, unpatched, against the lab."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.azure.conftest import aim_at
from toolkit import settings
from toolkit.core.basemodel import model_folder
from toolkit.core.recipe import BaseModelChoice
from toolkit.wiring import make_workbench

BIG = 96 << 20
FETCH = """
import re, sys
import azure.ai.ml, azure.identity, azure.storage.blob
from deploy.azureml import fetch_model
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
before = peak()
fetch_model(sys.argv[1], sys.argv[2], lambda said: print(said, file=sys.stderr))
print(peak() - before)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    assert tenths == sorted(set(tenths)) and tenths[-1] == 10 and len(tenths) >= 5
    with open(tmp_path / "big" / "model.safetensors", "rb") as fetched:
        assert hashlib.file_digest(fetched, "sha256").hexdigest() == hashlib.sha256(content).hexdigest()
    assert int(done.stdout) < BIG / 2


def test_an_interrupted_fetch_leaves_nothing(signed_in, desk):
    aim_at(desk, signed_in.register("interrupted", {"config.json": b"{}", "model.safetensors": bytes(BIG)}))
    signed_in.proxy.delay = 0.005
    checking = desk.start("check", desk.recipe)
    assert checking.stderr.readline().startswith("Fetching ")
    assert checking.stderr.readline().startswith("10 % of ")
    checking.send_signal(signal.SIGINT)
    _, said = checking.communicate(timeout=60)
    assert checking.returncode == 130 and "100 %" not in said
    assert list((desk.home / "models").iterdir()) == []


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
    assert [request.partition("?")[0] for request in lab.proxy.refused] == ["GET /msi/token"]
    lab.proxy.refused.clear()


def test_a_model_that_does_not_fit_on_the_disk_is_not_begun(signed_in, desk):
    aim_at(desk, signed_in.register("huge", {"config.json": b"{}"}))
    hole = signed_in.container.get_blob_client("LocalUpload/huge/upload/model.safetensors")
    hole.create_page_blob(8 << 40)  # has that size and no bytes
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 6
    assert "The model has 8.8 TB and " in checked.stderr and str(desk.home / "models") in checked.stderr
    assert list((desk.home / "models").iterdir()) == []
