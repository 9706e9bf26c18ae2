"""A device with merged adapters, from the recipe to answers: a graph for each adapter, and one copy of what they share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import tiny
from toolkit.core import content, packaging

pytestmark = pytest.mark.model

QUESTION = ("--prompt", "What is number 3?", "--max-tokens", "5", "--json")


class Merged:
    """A build with merged adapters, packaged."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.recipe = tiny.write_tiny_project(folder / "project")
        self.home = folder / "home"
        self.recipe.write_text(self.recipe.read_text() + f'[export]\nadapters = "merged"\n{more}')
        self.do("run", str(self.recipe))

    def do(self, *arguments: str) -> str:
        done = tiny.edge(*arguments, home=self.home)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def package(self, *more: str) -> Path:
        self.do("package", "1", *more)
        return tiny.local_bench(self.home).run("last").folder / "content"


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Merged:
    return Merged(tmp_path_factory.mktemp("merged"))


@pytest.fixture(scope="module")
def folder(merged: Merged) -> Path:
    return merged.package()


def test_each_adapter_becomes_a_graph_and_is_weighed_like_one(merged):
    manifest = tiny.local_bench(merged.home).run("1").manifest()
    steps = [artifact["step"] for artifact in manifest["artifacts"]]
    assert [step for step in steps if "one" in step] == ["finetune-one", "merge-cpu-one", "merged-cpu-one", "evaluate-cpu-one"]
    measured = manifest["metrics"]["evaluate-cpu-one"]
    assert measured["adapter.perplexity"] != measured["graph.perplexity"]
    assert measured["tokens_per_second.adapter"] > 0


def test_what_the_graphs_share_is_packaged_once(folder):
    names = sorted(path.name for path in (folder / "model").glob("*.onnx*"))
    assert names == sorted([
        "model.onnx", "model.onnx.data", "merged-one.onnx", "merged-one.onnx.data", "merged-two.onnx", "merged-two.onnx.data",
        "shared.onnx.data",
    ])  # fmt: skip
    layers = {layer.name: sorted(Path(file.path).name for file in layer.files) for layer in packaging.image_layers(folder)}
    assert layers["adapter one"] == ["merged-one.onnx", "merged-one.onnx.data"]
    assert "shared.onnx.data" in layers["model"] and not any(name.startswith("merged") for name in layers["model"])


def test_base_and_every_adapter_answer_and_differ(merged, folder):
    answers = {}
    for adapter in ("", "one", "two"):
        chosen = ("--adapter", adapter) if adapter else ()
        answers[adapter] = json.loads(merged.do("chat", "2", *chosen, *QUESTION))[0]
        assert answers[adapter]["figures"]["tokens"] > 0


def test_one_graph_is_held_after_the_other_where_memory_is_little(merged, folder):
    alone = merged.package()
    file = alone / "device.json"
    config = content.read_config(alone)
    assert config["graphs_in_memory"] == 3
    file.write_text(json.dumps({**config, "graphs_in_memory": 1}))
    for adapter in ((), ("--adapter", "one"), ("--adapter", "two")):
        one, all_held = (json.loads(merged.do("chat", run, *adapter, *QUESTION))[0]["answer"] for run in ("last", "2"))
        assert one == all_held


def test_an_image_without_base_answers_only_with_adapters(tmp_path):
    alone = Merged(tmp_path, "keep_base = false\n")
    folder = alone.package()
    assert not list((folder / "model").glob("model.onnx*"))
    assert json.loads((folder.parent / "smoke.json").read_text())["answers"].keys() == {"base:one", "base:two"}
    refused = tiny.edge("chat", "2", *QUESTION, home=alone.home)
    assert refused.returncode == 7 and "Name one of its adapters: one, two." in refused.stderr
