"""Content and layers of an image: what merged graphs share lies once in it, and adapters lie in the recipe's order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.core import content, footprint, packaging
from toolkit.core.device import find
from toolkit.core.footprint import Footprint
from toolkit.core.kv_budget import memory_fit
from toolkit.core.made import devices_in, made_for
from toolkit.errors import RunError

GENAI = {
    "model": {"context_length": 512, "vocab_size": 1000, "decoder": {"num_hidden_layers": 2, "num_key_value_heads": 2, "head_size": 16}}
}
MB = 1 << 20
CPU, GPU = (find(Path(__file__).parents[2] / "data" / "devices", name) for name in ("cpu", "gpu-cuda12"))


class Build:
    """A build folder with a graph and two merged adapters, `zoo` before `art`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.artifacts = folder, []
        self.add("export-cpu", "model.onnx", {"genai_config.json": json.dumps(GENAI).encode()})
        self.add("merged-cpu-zoo", "merged-zoo.onnx")
        self.add("merged-cpu-art", "merged-art.onnx")

    def add(self, step: str, graph: str, more: dict[str, bytes] | None = None) -> None:
        out = self.folder / "steps" / step / "out"
        out.mkdir(parents=True)
        for name, data in {graph: b"g", f"{graph}.data": step.encode() * MB, "shared.onnx.data": b"s" * 8 * MB, **(more or {})}.items():
            (out / name).write_bytes(data)
        self.note(step, out)

    def note(self, step: str, out: Path) -> None:
        self.artifacts = [artifact for artifact in self.artifacts if artifact["step"] != step]
        path = out.relative_to(self.folder).as_posix()
        self.artifacts.append({"step": step, "path": path, "sha256": content.folder_digest(out)})

    def put_together(self, folder: Path, keep_base: bool = True, memory_mb: int = 0) -> dict:
        made = made_for(self.artifacts, "cpu")
        content.put_together(self.folder, made, folder, keep_base, lambda *_: None)
        config, _ = content.device_config(folder, made, CPU, 2048, memory_mb)
        content.write_config(folder, config)
        return config


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path / "build")


def test_what_was_made_for_a_device_is_told_in_the_recipes_order(build):
    made = made_for(build.artifacts, "cpu")
    assert made.is_merged and list(made.adapters) == ["zoo", "art"]
    assert devices_in(build.artifacts) == ["cpu"] and made_for(build.artifacts, "gpu") is None


def test_layers_hold_shared_weights_once_and_adapters_in_the_recipes_order(build, tmp_path):
    build.put_together(tmp_path / "content")
    layers = packaging.image_layers(tmp_path / "content")
    assert [layer.name for layer in layers] == ["model", "adapter zoo", "adapter art", "configuration"]
    files = {layer.name: [file.path for file in layer.files] for layer in layers}
    assert files["adapter art"] == ["/model/merged-art.onnx", "/model/merged-art.onnx.data"]
    assert files["model"] == ["/model/model.onnx", "/model/model.onnx.data", "/model/shared.onnx.data"]
    assert files["configuration"] == ["/etc/edge/device.json", "/model/genai_config.json"], (
        "a limit of length changes no layer with weights"
    )


def test_switchable_adapters_lie_in_the_recipes_order_and_older_folders_by_name(tmp_path):
    for name in ("zoo", "art"):
        (tmp_path / "adapters").mkdir(exist_ok=True)
        (tmp_path / "adapters" / f"{name}.onnx_adapter").write_bytes(b"x")
    (tmp_path / "model").mkdir()
    assert content.adapters_in(tmp_path) == ["art", "zoo"]
    (tmp_path / "device.json").write_text(json.dumps({"adapters": ["zoo", "art"]}))
    assert [layer.name for layer in packaging.image_layers(tmp_path)] == ["model", "adapter zoo", "adapter art", "configuration"]


def test_the_server_is_told_each_graph_and_how_many_fit_into_memory(build, tmp_path):
    config = build.put_together(tmp_path / "content")
    assert config["format"] == 2 and config["graphs_in_memory"] == 3
    assert config["graphs"] == {"": "model.onnx", "zoo": "merged-zoo.onnx", "art": "merged-art.onnx"}
    two = footprint.needed_mb(tmp_path / "content", {**config, "graphs_in_memory": 2})
    assert config["needed_mb"] > two
    assert build.put_together(tmp_path / "content", memory_mb=two)["graphs_in_memory"] == 2
    assert build.put_together(tmp_path / "content", memory_mb=two - 1)["graphs_in_memory"] == 1


def test_a_conversation_is_as_long_as_the_device_has_memory_for(build, tmp_path):
    whole = build.put_together(tmp_path / "content", memory_mb=1000)
    assert (whole["max_length"], whole["memory_mb"], whole["accelerator"]) == (512, 1000, "cpu")
    assert whole["kv_bytes_per_token"] == 2 * 2 * 2 * 16 * 4 and whole["kv_tokens"] > 512
    alone = {**whole, "graphs_in_memory": 1}
    least = footprint.needed_mb(tmp_path / "content", {**alone, "max_length": 256})
    with pytest.raises(
        RunError, match=rf"512 tokens need \d+ MB, the device has {least - 1} MB; memory_mb = {least} would do for 256 tokens"
    ):
        build.put_together(tmp_path / "content", memory_mb=least - 1)


def test_what_fits_is_said_in_the_numbers_that_would_do():
    footprint = Footprint(weights=100 << 20, adapters=0, kv_bytes_per_token=1 << 20, vocab=0)  # 278 MB and one for each token
    whole, less, none = (memory_fit(replace(CPU, memory_mb=mb), footprint, 1000) for mb in (2048, 778, 500))
    assert (whole.taken, whole.sentence) == (1000, "cpu: 1000 tokens need 1278 MB of its 2048 MB.")
    assert less.fits and less.taken == 500
    assert "the device has 778 MB; conversations will end at 500. memory_mb = 1278 would do for all." in less.sentence
    assert not none.fits and "memory_mb = 534 would do for 256 tokens, memory_mb = 1278 for 1000." in none.sentence
    unsaid = memory_fit(GPU, replace(footprint, provider="cuda"), 1000)
    assert unsaid.is_whole and "its device file says no gpu_memory_mb" in unsaid.sentence
    assert memory_fit(replace(GPU, gpu_memory_mb=600), footprint, 1000).taken == 322, "the GPU's memory counts there, not the host's"


def test_the_models_own_configuration_is_shortened_and_the_builds_left_alone(build, tmp_path):
    build.put_together(tmp_path / "content")
    content.shorten(tmp_path / "content", 300)
    told = json.loads((tmp_path / "content/model/genai_config.json").read_text())
    assert (told["model"]["context_length"], told["search"]["max_length"]) == (300, 300)
    assert json.loads((build.folder / "steps/export-cpu/out/genai_config.json").read_text()) == GENAI


def test_the_base_can_be_left_out(build, tmp_path):
    config = build.put_together(tmp_path / "content", keep_base=False)
    assert "" not in config["graphs"] and not content.has_base(config)
    assert not list((tmp_path / "content/model").glob("model.onnx*"))


def test_graphs_that_do_not_share_their_weights_are_not_packaged(build, tmp_path):
    out = build.folder / "steps/merged-cpu-art/out"
    (out / "shared.onnx.data").write_bytes(b"other")
    build.note("merged-cpu-art", out)
    with pytest.raises(RunError, match="'art' does not share its weights"):
        build.put_together(tmp_path / "content")


def test_what_the_build_did_not_write_is_not_packaged(build, tmp_path):
    (build.folder / "steps/merged-cpu-art/out/merged-art.onnx").write_bytes(b"changed")
    with pytest.raises(RunError, match="merged-cpu-art/out of build is not what the build wrote"):
        build.put_together(tmp_path / "content")
