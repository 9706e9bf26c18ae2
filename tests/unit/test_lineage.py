"""What a published model came from: facts in images and stores, within their limits, and the same for the same content."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.packaged_home import METRICS, RECIPE, TOOLS, Packaged, finished_build, package, packaged_home, paper_bench
from toolkit.core.files import sha256_of
from toolkit.core.lineage import MOST_CHARACTERS, MOST_PROPERTIES, facts_of, lineage_document, with_image, within_limits
from toolkit.core.model_registry import RegisteredModel
from toolkit.core.provenance import facts_of_build
from toolkit.core.publish_start import PublishWish, make_request


@pytest.fixture
def home(tmp_path: Path) -> Packaged:
    return packaged_home(tmp_path / "home", weights=1000)


def facts(home: Packaged, target: str = "127.0.0.1:5000/travel") -> dict[str, str]:
    request = make_request(home.bench, PublishWish(home.name, target, store="s/g/w"))
    return facts_of(home.bench, request["steps"][0]["options"])


def manifest_of(home: Packaged) -> dict:
    return json.loads(home.layout.blob(home.layout.manifest).read_text())


def labels_of(home: Packaged) -> dict:
    return json.loads(home.layout.blob(home.layout.config).read_text())["config"]["Labels"]


def test_a_model_tells_recipe_data_base_model_measurements_and_tools(home):
    told = facts(home)
    assert (told["edge.recipe"], told["edge.base_model"], told["edge.base_model.revision"]) == ("travel", "owner/small", "abc123")
    assert told["edge.dataset.travel.train"] == sha256_of(home.build.folder / "data" / "travel.train.jsonl")
    assert (told["edge.run.build"], told["edge.run.package"], told["edge.device"]) == (home.build.id, home.run.id, "cpu")
    assert (told["edge.metric.travel.perplexity"], told["edge.metric.travel.base.fact_accuracy"]) == ("1.03029", "0.0625")
    assert told["edge.metric.travel.tokens_per_second"] == "127.4"
    assert {f"edge.tool.{name}": number for name, number in TOOLS.items()}.items() <= told.items()
    assert told["edge.tool.olive-edge-toolkit"]


def test_the_image_is_named_by_its_digest_where_it_is_pushed_from_its_layout(home):
    assert facts(home)["edge.image"] == f"127.0.0.1:5000/travel@{home.layout.manifest}"
    assert facts(home)["edge.image.config"] == home.layout.config
    assert not any(name.startswith("edge.image") for name in facts(home, target=""))


def test_the_recipe_that_is_told_has_the_hash_that_is_told(home):
    told = facts(home)
    parts = [told[f"edge.recipe.text{number}"] for number in ("", ".2", ".3") if f"edge.recipe.text{number}" in told]
    assert json.loads("".join(parts)) == RECIPE
    assert (
        hashlib.sha256("".join(parts).encode()).hexdigest() == told["edge.recipe.sha256"] == labels_of(home)["edge-toolkit.recipe.sha256"]
    )


def test_the_image_tells_the_same_in_labels_and_annotations(home):
    annotations, labels = manifest_of(home)["annotations"], labels_of(home)
    told = {name.replace("edge.", "edge-toolkit.", 1): value for name, value in facts(home).items()}
    shared = ("recipe.sha256", "dataset.sha256", "base_model", "metric.travel.perplexity", "tool.olive-ai", "run.build")
    for name in (f"edge-toolkit.{key}" for key in shared):
        assert annotations[name] == labels[name] == told[name]
    assert json.loads(annotations["edge-toolkit.recipe.text"]) == RECIPE
    assert not [name for name in {**annotations, **labels} if "tokens_per_second" in name], "another day's speed is no other image"


def test_the_same_build_packaged_again_has_the_same_digests(home):
    again = package(home.bench, home.build)
    assert again.run != home.run
    assert (again.layout.manifest, again.layout.config) == (home.layout.manifest, home.layout.config)


def test_a_build_that_recorded_nothing_tells_what_its_folder_holds(home):
    recorded = facts(home)
    manifest = json.loads((home.build.folder / "manifest.json").read_text())
    (home.build.folder / "manifest.json").write_text(json.dumps({key: manifest[key] for key in ("format", "run", "artifacts")}))
    told = facts(home)
    assert told["edge.dataset.sha256"] == recorded["edge.dataset.sha256"]
    assert "edge.base_model.sha256" in recorded and "edge.base_model.sha256" not in told
    assert not [name for name in told if name.startswith(("edge.metric", "edge.tool.olive-ai"))]


def test_without_build_and_package_a_model_still_tells_its_content(home):
    options = make_request(home.bench, PublishWish(home.name, store="s/g/w"))["steps"][0]["options"]
    shutil.rmtree(home.build.folder)
    assert facts_of(home.bench, options)["edge.content.sha256"] == options["content_sha256"]
    shutil.rmtree(home.run.folder)
    assert facts_of(home.bench, options) == {"edge.content.sha256": options["content_sha256"]}


def test_no_fact_is_longer_and_there_are_no_more_than_a_store_takes(tmp_path):
    adapters = [{"name": f"a{number}", "train": ["x.jsonl"], "held_out": 0.1} for number in range(60)]
    home = packaged_home(tmp_path / "home", 1000, {**RECIPE, "adapters": adapters})
    manifest = json.loads((home.build.folder / "manifest.json").read_text())
    manifest["metrics"] = {f"evaluate-cpu-a{number}": METRICS for number in range(60)}
    (home.build.folder / "manifest.json").write_text(json.dumps(manifest))
    told = facts(home)
    assert len(told) == MOST_PROPERTIES
    assert {"edge.recipe.sha256", "edge.dataset.sha256", "edge.content.sha256", "edge.image", "edge.run.build"} <= told.keys()


@pytest.mark.parametrize(("length", "parts"), [(0, 0), (1000, 1), (1001, 2), (2500, 3)])
def test_a_long_recipe_goes_in_parts_that_fit(length, parts):
    told = within_limits({"edge.a": "b"}, "x" * length)
    assert len(told) == 1 + parts and sum(len(value) for name, value in told.items() if "text" in name) == length
    assert all(len(value) <= MOST_CHARACTERS for value in told.values())


def test_half_a_recipe_is_not_told(tmp_path):
    assert within_limits({f"edge.{n}": "v" for n in range(44)}, "x" * 2500).keys() == {f"edge.{n}" for n in range(44)}


def test_a_version_lists_the_images_of_each_device_the_newest_first():
    tags = with_image({"mine": "kept"}, "edge.image.cpu", "sha256:" + "a" * 64)
    tags = with_image(with_image(tags, "edge.image.gpu", "sha256:g"), "edge.image.cpu", "sha256:" + "b" * 64)
    assert tags["edge.image.cpu"].split() == ["sha256:" + "b" * 64, "sha256:" + "a" * 64]
    assert (tags["edge.image.gpu"], tags["mine"]) == ("sha256:g", "kept")
    assert with_image(tags, "edge.image.gpu", "sha256:g") == tags, "the same image again changes nothing"
    for number in range(40):
        tags = with_image(tags, "edge.image.cpu", f"sha256:{number:064d}")
    assert len(tags["edge.image.cpu"]) <= MOST_CHARACTERS
    assert tags["edge.image.cpu"].split()[0] == f"sha256:{39:064d}" and {len(one) for one in tags["edge.image.cpu"].split()} == {71}


def test_the_document_beside_an_image_has_no_clock():
    models = [RegisteredModel("travel", "1", "azureml:travel:1", "azureml://x", created=created) for created in (1.0, 2.0)]
    one, other = (lineage_document(model, {"store": "s/g/w"}, "sha256:a") for model in models)
    assert one == other and json.loads(one)["model"]["id"] == "azureml:travel:1"


def test_a_build_of_another_device_tells_its_own_measurements(tmp_path):
    build = finished_build(paper_bench(tmp_path / "home"))
    assert "metric.travel.perplexity" in facts_of_build(build.folder, RECIPE, "cpu")
    assert "metric.travel.perplexity" not in facts_of_build(build.folder, RECIPE, "cuda12")
