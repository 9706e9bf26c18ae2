"""The layout on disk: whole, the same each time, written once, and nothing half-written under a blob's name."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.layouts import laid_out, packed, told_of
from tests.paper_engine import PaperEngine, sha256
from toolkit.core import image_making, oci_layout
from toolkit.core.engine import LABEL, Image
from toolkit.core.layers import LAYER_NAMES, Layer, LayerFile, folder_layer
from toolkit.errors import DiskError, EngineError, RunError

TAG = "edge-toolkit/travel-cpu:0001"
LABELS = {f"{LABEL}.kind": "image"}
BIG = os.urandom(5 << 20)
"""A layer larger than what is kept in memory of a saved image."""


@pytest.fixture
def engine() -> PaperEngine:
    return PaperEngine()


@pytest.fixture
def base(engine: PaperEngine) -> Image:
    return engine.add_base("edge-toolkit/runtime-cpu:1", [BIG, b"packages", BIG, b"server"], {LAYER_NAMES: "python,packages,more,server"})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx.data").write_bytes(os.urandom(3_000_001))
    (folder / "genai_config.json").write_text("{}")
    return folder


def layers_of(model: Path, adapter: bytes = b"travel" * 500) -> list[Layer]:
    return [
        folder_layer("model", model, "/model"),
        Layer("adapter travel", (LayerFile(adapter, "/adapters/travel.onnx_adapter"),)),
        Layer("configuration", (LayerFile(b"{}", "/etc/edge/device.json"),)),
    ]


def run_folder(tmp_path: Path, number: int) -> Path:
    return tmp_path / "runs" / f"{number:04d}-package-travel" / "image"


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def test_every_blob_is_what_its_name_says_and_the_manifest_names_them_all(tmp_path, engine, base, model):
    layout = laid_out(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    found = contents(layout.folder)
    blobs = {name.rpartition("/")[2]: digest for name, digest in found.items() if name.startswith("blobs/")}
    assert all(name == digest for name, digest in blobs.items())
    assert json.loads((layout.folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    [entry] = json.loads((layout.folder / "index.json").read_text())["manifests"]
    manifest = json.loads(layout.blob(entry["digest"]).read_bytes())
    named = {entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    assert {f"sha256:{name}" for name in blobs} == named
    assert all(layout.blob(layer["digest"]).stat().st_size == layer["size"] for layer in manifest["layers"])
    assert entry["annotations"]["io.containerd.image.name"] == f"docker.io/{TAG}"


def test_layers_lie_runtime_first_then_model_adapters_configuration_and_digests_are_diff_ids(tmp_path, engine, base, model):
    layout = laid_out(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    names = [layer.name for layer in layout.layers]
    assert names == ["python", "packages", "more", "server", "model", "adapter travel", "configuration"]
    config = json.loads(layout.blob(layout.config).read_bytes())
    assert config["rootfs"]["diff_ids"] == list(layout.diff_ids) and layout.diff_ids[:4] == base.layers


def test_the_same_content_gives_the_same_layout_byte_for_byte_in_another_home(tmp_path, engine, base, model):
    first = laid_out(run_folder(tmp_path / "a", 1), engine, base, layers_of(model), LABELS, TAG)
    for path in model.rglob("*"):
        os.utime(path, (1, 1))
    second = laid_out(run_folder(tmp_path / "b", 7), engine, base, layers_of(model), LABELS, TAG)
    assert contents(first.folder) == contents(second.folder)


def test_an_engine_that_tells_more_of_the_base_changes_nothing(tmp_path, engine, base, model):
    chatty = Image(**{**vars(base), "config": {**base.config, "Config": {**base.config["Config"], "Hostname": "x", "Tty": False}}})
    one = laid_out(run_folder(tmp_path / "a", 1), engine, base, layers_of(model), LABELS, TAG)
    other = laid_out(run_folder(tmp_path / "b", 1), engine, chatty, layers_of(model), LABELS, TAG)
    assert one.config == other.config


def test_the_engine_knows_the_image_by_the_digest_of_its_configuration(tmp_path, engine, base, model):
    image = packed(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    assert image.id == oci_layout.read(run_folder(tmp_path, 1)).config


def test_an_engine_that_holds_another_image_in_the_end_is_an_error(tmp_path, engine, base, model):
    class Forgetful(PaperEngine):
        def load(self, archive):
            super().load(archive)
            self.known[TAG] = base

    forgetful = Forgetful(**vars(engine))
    with pytest.raises(EngineError, match="holds .* instead of"):
        packed(run_folder(tmp_path, 1), forgetful, base, layers_of(model), LABELS, TAG)


def test_a_second_packaging_links_every_layer_and_writes_and_loads_none(tmp_path, engine, base, model):
    layers = layers_of(model)
    packed(run_folder(tmp_path, 1), engine, base, layers, LABELS, TAG)
    told = told_of(base, layers)
    second = laid_out(run_folder(tmp_path, 2), engine, base, layers, LABELS, TAG, told)
    image_making.load(engine, second, base, told)
    assert (told.written, engine.saves) == (0, 1)
    first = oci_layout.read(run_folder(tmp_path, 1))
    assert all(second.blob(digest).stat().st_ino == first.blob(digest).stat().st_ino for digest in second.diff_ids)
    assert told.loaded < 20_000


def test_a_changed_adapter_writes_and_loads_that_adapter_alone(tmp_path, engine, base, model):
    packed(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    layers = layers_of(model, b"retrained" * 500)
    told = told_of(base, layers)
    image_making.load(engine, laid_out(run_folder(tmp_path, 2), engine, base, layers, LABELS, TAG, told), base, told)
    assert told.written == layers[1].size
    assert told.loaded <= 4500 + 20_000


def test_a_changed_server_is_the_only_layer_of_the_runtime_that_is_kept_anew(tmp_path, engine, base, model):
    first = laid_out(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    other = engine.add_base("edge-toolkit/runtime-cpu:2", [BIG, b"packages", BIG, b"another server"])
    told = told_of(other, layers_of(model))
    second = laid_out(run_folder(tmp_path, 2), engine, other, layers_of(model), LABELS, TAG, told)
    assert told.written == len(b"another server")
    assert second.blob(other.layers[0]).stat().st_ino == first.blob(other.layers[0]).stat().st_ino


def test_other_weights_of_the_same_size_are_never_taken_for_the_old_ones(tmp_path, engine, base, model):
    first = laid_out(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    (model / "model.onnx.data").unlink()
    (model / "model.onnx.data").write_bytes(os.urandom(3_000_001))
    second = laid_out(run_folder(tmp_path, 2), engine, base, layers_of(model), LABELS, TAG)
    assert first.diff_ids[4] != second.diff_ids[4] and first.diff_ids[5:] == second.diff_ids[5:]


def test_an_engine_that_wants_every_layer_gets_them_in_a_second_try(tmp_path, engine, base, model):
    engine.wants_every_layer = True
    image = packed(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    assert len(engine.archives) == 2 and engine.find(TAG).id == image.id


class Shrunk(LayerFile):
    """A file whose size was read before it shrank."""

    @property
    def size(self) -> int:
        return 1000


def test_a_killed_packaging_goes_on_with_the_blobs_that_were_whole(tmp_path, engine, base, model):
    folder = run_folder(tmp_path, 1)
    (tmp_path / "adapter").write_bytes(b"short")
    broken = [*layers_of(model)[:1], Layer("adapter travel", (Shrunk(tmp_path / "adapter", "/adapters/travel.onnx_adapter"),))]
    with pytest.raises(EngineError, match="changed while it was packed"):
        laid_out(folder, engine, base, broken, LABELS, TAG)
    (folder / "blobs/sha256/99.part").write_bytes(b"half")
    with pytest.raises(RunError, match="no whole image layout"):
        oci_layout.read(folder)
    layers = layers_of(model)
    told = told_of(base, layers)
    layout = laid_out(folder, engine, base, layers, LABELS, TAG, told)
    assert told.written == sum(layer.size for layer in layers[1:]) and engine.saves == 1
    assert {path.name for path in (folder / "blobs/sha256").iterdir()} == {
        digest.removeprefix("sha256:") for digest in (*layout.diff_ids, layout.config, layout.manifest)
    }


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path, engine, base, model):
    class Huge(Layer):
        @property
        def size(self) -> int:
            return 10**17

    layers = [Huge("model", layers_of(model)[0].files)]
    with pytest.raises(DiskError, match="takes 100000.0 TB while it is made; .* are free"):
        laid_out(run_folder(tmp_path, 1), engine, base, layers, LABELS, TAG)
    assert not list((run_folder(tmp_path, 1) / "blobs/sha256").iterdir())


def test_room_for_the_engine_is_counted_where_it_is_on_the_same_disk(tmp_path, engine, base, model, monkeypatch):
    layers = layers_of(model)
    needed = base.bytes + sum(layer.size for layer in layers)
    monkeypatch.setattr(image_making, "free_bytes", lambda path: needed)
    laid_out(run_folder(tmp_path / "a", 1), engine, base, layers, LABELS, TAG)
    engine.root = str(tmp_path)
    with pytest.raises(DiskError):
        laid_out(run_folder(tmp_path / "b", 1), engine, base, layers, LABELS, TAG)


def test_a_layout_with_a_cut_blob_is_not_whole(tmp_path, engine, base, model):
    layout = laid_out(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    cut = layout.blob(layout.diff_ids[4])
    cut.chmod(0o644)
    os.truncate(cut, 100)
    with pytest.raises(RunError, match="model has 100 bytes instead of"):
        oci_layout.read(layout.folder)


def test_a_run_deleted_meanwhile_only_means_that_the_layer_is_written(tmp_path, engine, base, model):
    first = laid_out(run_folder(tmp_path, 1), engine, base, layers_of(model), LABELS, TAG)
    shared = image_making.earlier_blobs(tmp_path / "runs")
    for path in first.folder.glob("blobs/sha256/*"):
        path.unlink()
    blobs = oci_layout.Blobs(run_folder(tmp_path, 2), shared)
    assert not blobs.has(first.diff_ids[4]) and blobs.sizes() == set()


@pytest.mark.parametrize(
    ("tag", "whole"),
    [
        ("edge-toolkit/x:1", "docker.io/edge-toolkit/x:1"),
        ("x:1", "docker.io/library/x:1"),
        ("127.0.0.1:5001/x:1", "127.0.0.1:5001/x:1"),
        ("registry.example/x:1", "registry.example/x:1"),
    ],
)
def test_the_name_in_the_index_is_whole(tag, whole):
    assert oci_layout.names_of(tag) == {"io.containerd.image.name": whole, "org.opencontainers.image.ref.name": "1"}


def test_saved_layers_that_the_engine_keeps_packed_are_unpacked(tmp_path):
    import gzip

    from toolkit.core.saved_image import take_in

    engine = PaperEngine()
    base = engine.add_base("b:1", [BIG, b"small"])
    engine.layers_held |= {chain: gzip.compress(tar, 1) for chain, tar in engine.layers_held.items()}
    blobs = oci_layout.Blobs(tmp_path)
    saved = take_in(engine.save(base.id), blobs)
    assert saved.layers == base.layers == (sha256(BIG), sha256(b"small")) and blobs.has(sha256(BIG))


@pytest.mark.parametrize("cut", [0, 1000, 4_000_000])
def test_a_saved_image_that_ends_too_early_is_an_error(tmp_path, engine, base, cut):
    from toolkit.core.saved_image import take_in

    whole = b"".join(engine.save(base.id))
    with pytest.raises(EngineError, match="no image archive"):
        take_in([whole[:cut]], oci_layout.Blobs(tmp_path))
