"""Layers: the same content gives the same digest, each is a valid tar, sizes are known beforehand."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace

import pytest

from toolkit.core.big_file import in_chunks
from toolkit.core.engine import Image
from toolkit.core.layers import CREATED, LAYER_NAMES, Layer, LayerFile, base_names, diff_id, folder_layer, image_config, layer_tar
from toolkit.errors import EngineError

BASE = Image(
    "sha256:base",
    ("base:1",),
    10,
    "2020",
    {"edge-toolkit.kind": "runtime"},
    ("sha256:aa",),
    {"Config": {"Cmd": ["x"]}, "Os": "linux", "Architecture": "amd64"},
)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx.data").write_bytes(os.urandom(100_001))
    (folder / ("long-" * 30 + ".json")).write_text("{}")
    (folder / "sub" / "empty").write_bytes(b"")
    return folder


def test_the_same_content_has_the_same_digest_whatever_its_times_and_rights(model):
    before = diff_id(folder_layer("model", model, "/model"))
    for path in model.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert diff_id(folder_layer("model", model, "/model")) == before


def test_changed_content_of_the_same_size_changes_the_digest(model):
    before = diff_id(folder_layer("model", model, "/model"))
    (model / "model.onnx.data").write_bytes(os.urandom(100_001))
    assert diff_id(folder_layer("model", model, "/model")) != before


def tar_of(layer: Layer) -> bytes:
    return b"".join(in_chunks(layer_tar(layer)))


def test_the_size_is_known_before_the_tar_is_written(model):
    layer = folder_layer("model", model, "/model")
    assert layer.size == len(tar_of(layer))


def test_the_tar_holds_every_folder_and_file_in_order_owned_by_root(model):
    layer = folder_layer("model", model, "/model")
    with tarfile.open(fileobj=io.BytesIO(tar_of(layer))) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {m.name for m in members if m.isdir()} == {"model", "model/sub"}
    assert {(m.uid, m.gid, m.uname) for m in members} == {(0, 0, "")}


def test_a_file_that_changes_while_it_is_packed_is_an_error(model):
    (model / "model.onnx.data").write_bytes(b"short")
    with pytest.raises(EngineError, match="changed while it was packed"):
        diff_id(Layer("stale", (Grown(model / "model.onnx.data", "/model/x"),)))


class Grown(LayerFile):
    """A file whose size was read before it shrank."""

    @property
    def size(self) -> int:
        return 100_001


def test_the_configuration_has_our_history_and_labels_and_what_matters_of_the_bases_and_no_more():
    base = replace(BASE, config={**BASE.config, "Config": {"Cmd": ["x"], "Hostname": "abc", "Image": "sha256:z", "User": ""}})
    config = json.loads(image_config(base, [("model", "sha256:mm")], {"edge-toolkit.kind": "image"}))
    assert config["rootfs"]["diff_ids"] == ["sha256:aa", "sha256:mm"]
    assert config["config"] == {"Cmd": ["x"], "Labels": {"edge-toolkit.kind": "image"}}
    assert [entry["created_by"] for entry in config["history"]] == ["runtime", "edge package: model"]
    assert config["created"] == CREATED


@pytest.mark.parametrize(("label", "names"), [("python", ["runtime: python"]), ("python,server", ["runtime"]), ("", ["runtime"])])
def test_the_bases_layers_have_the_names_of_its_label_where_they_are_as_many(label, names):
    assert base_names(replace(BASE, labels={LAYER_NAMES: label})) == names
