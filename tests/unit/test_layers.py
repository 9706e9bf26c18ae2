"""Layers: the same content gives the same digest, the archive is a valid tar, sizes are known beforehand."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

import pytest

from toolkit.core.engine import Image
from toolkit.core.layers import CREATED, Layer, LayerFile, diff_id, folder_layer, image_archive, layer_tar
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


def test_the_size_is_known_before_the_tar_is_written(model):
    layer = folder_layer("model", model, "/model")
    assert layer.size == sum(map(len, layer_tar(layer)))


def test_the_tar_holds_every_folder_and_file_in_order_owned_by_root(model):
    layer = folder_layer("model", model, "/model")
    with tarfile.open(fileobj=io.BytesIO(b"".join(layer_tar(layer)))) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {m.name for m in members if m.isdir()} == {"model", "model/sub"}
    assert {(m.uid, m.gid, m.uname) for m in members} == {(0, 0, "")}


def test_a_file_that_changes_while_it_is_packed_is_an_error(model):
    layer = folder_layer("model", model, "/model")
    pieces = layer_tar(layer)
    next(pieces)
    with open(model / ("long-" * 30 + ".json"), "a") as grown:
        grown.write("more")
    (model / "model.onnx.data").write_bytes(b"short")
    with pytest.raises(EngineError, match="changed while it was packed"):
        stale = Layer("stale", (Grown(model / "model.onnx.data", "/model/x"),))
        list(layer_tar(stale))


class Grown(LayerFile):
    """A file whose size was read before it shrank."""

    @property
    def size(self) -> int:
        return 100_001


def test_the_archive_names_base_layers_and_holds_only_new_ones(model):
    layers = [folder_layer("model", model, "/model"), Layer("configuration", (LayerFile(b"{}", "/etc/edge/device.json"),))]
    archive = b"".join(image_archive(BASE, layers, {"edge-toolkit.kind": "image"}, "edge-toolkit/x:1"))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))[0]
        config = json.load(tar.extractfile(manifest["Config"]))
        digests = ["sha256:" + hashlib.sha256(tar.extractfile(n).read()).hexdigest() for n in ("layer0.tar", "layer1.tar")]
    assert "base0.tar" not in names and manifest["Layers"] == ["base0.tar", "layer0.tar", "layer1.tar"]
    assert config["rootfs"]["diff_ids"] == ["sha256:aa", *digests] == ["sha256:aa", *map(diff_id, layers)]
    assert config["config"]["Labels"]["edge-toolkit.kind"] == "image" and config["config"]["Cmd"] == ["x"]
    assert config["created"] == CREATED


def test_two_archives_of_the_same_content_are_equal_byte_for_byte(model):
    layers = [folder_layer("model", model, "/model")]
    first, second = (b"".join(image_archive(BASE, layers, {}, "edge-toolkit/x:1")) for _ in range(2))
    assert first == second
