"""Wrong input is refused before a run is made: which file, which line, and what to do."""

from __future__ import annotations

import json

import pytest

from tests.cli.desk import TOKENIZER, write_model, write_rows

GOOD = {"prompt": "How far?", "response": "Far."}


def refused(desk, *messages: str, code: int = 3, command: tuple = ("run",)) -> str:
    """What `edge run` says of the recipe, after checking that it stopped short of a run."""
    done = desk.edge(*command, desk.recipe)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in done.stderr
    assert not desk.runs()
    assert not list(desk.home.glob("runs/*")), "something of a run was left behind"
    return done.stderr


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        (b'{"prompt": "a",', "train.jsonl:3: no valid JSON", "one JSON object per line"),
        (b'{"prompt": "a"}', "train.jsonl:3: the row has no field 'response'; it has: prompt.", "Add the field"),
        (b'{"prompt": "a", "responce": "b"}', "no field 'response'", "Did you mean 'responce'?"),
        ('{"prompt": "Málaga", "response": "b"}'.encode("latin-1"), "(0xe1) is not UTF-8", "Latin-1"),
        (b'{"prompt": 5, "response": "b"}', "train.jsonl:3: field 'prompt' holds a number", "double quotes"),
    ],
)
def test_a_broken_row_is_told_with_file_line_and_remedy(desk, line, message, remedy):
    good = json.dumps(GOOD).encode() + b"\n"
    (desk.project / "train.jsonl").write_bytes(good + b"\n" + line + b"\n" + good.replace(b"far", b"near"))
    refused(desk, message, remedy)
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 3
    assert message in checked.stdout and remedy in checked.stdout
    assert "1 problem must be solved before a run." in checked.stderr


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (b"", "train.jsonl: the file holds no rows.", "one JSON object per line"),
        ((json.dumps(GOOD) + "\n").encode("utf-16"), "train.jsonl:1: byte 0 (0xff) is not UTF-8", "UTF-16"),
        (None, "train.jsonl does not exist.", "Correct the path in the recipe."),
    ],
)
def test_a_file_without_rows_is_told(desk, content, message, remedy):
    (desk.project / "train.jsonl").unlink()
    if content is not None:
        (desk.project / "train.jsonl").write_bytes(content)
    refused(desk, message, remedy)


def test_rows_that_all_ask_the_same_cannot_be_split(desk):
    write_rows(desk.project / "train.jsonl", GOOD, GOOD)
    refused(desk, "too few different prompts", "name held-out files")


def test_a_field_that_no_row_has_is_told_with_those_they_have(desk):
    change(desk, "Q: {prompt}", "Q: {question}")
    refused(desk, "text_template names {question}, but no row has a field 'question'; rows have: prompt, response.")


def test_calibration_text_that_is_not_there_empty_or_not_utf8_is_told(desk):
    change(desk, "[[adapters]]", '[quantize]\ncalibration = ["some.txt"]\n\n[[adapters]]')
    refused(desk, "some.txt cannot be read: No such file", "[quantize] calibration")
    (desk.project / "some.txt").write_text(" \n\n")
    refused(desk, "some.txt: the file holds no text.")
    (desk.project / "some.txt").write_bytes(b"one\n\ntwo \xe9\n")
    refused(desk, "some.txt:3: byte 9 (0xe9) is not UTF-8.", "Save the file as UTF-8.")


def change(desk, old: str, new: str) -> None:
    text = desk.recipe.read_text()
    assert old in text
    desk.recipe.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message", "remedy"),
    [
        ("[data]", "[date]", "recipe.toml:7: unknown key 'date'.", "Known keys here: adapters, data"),
        ('name = "small"', 'name = "small', "recipe.toml:1: not TOML", "Correct that line."),
        ("held_out = 0.25", "held_out = 2.5", "recipe.toml:13: 'adapters.0.held_out': as a share must lie above 0", "Correct that line."),
        ('source = "./model"', "", "recipe.toml:4: 'model.source' is missing.", "data/recipes/travel.toml"),
        ('["cpu"]', '["tpu"]', "Unknown device 'tpu'.", "Known devices: cpu"),
        ('"./model"', '"./nowhere"', "There is no model folder", "Correct [model] source"),
        ('"./model"', '"azureml://models/x"', "names no Azure ML model.", "azureml://registries/NAME/models/MODEL/versions/N"),
    ],
)
def test_a_wrong_recipe_is_told_with_its_line(desk, old, new, message, remedy):
    change(desk, old, new)
    refused(desk, message, remedy)
    assert message in refused(desk, command=("check",))


def test_a_model_without_a_tokenizer_is_told(desk):
    (desk.project / "model" / "tokenizer.json").unlink()
    refused(desk, "has no tokenizer", "Copy the tokenizer files")


def test_a_tokenizer_that_is_none_is_told(desk):
    (desk.project / "model" / "tokenizer.json").write_text(json.dumps({**TOKENIZER, "model": {"type": "Magic"}}))
    refused(desk, "tokenizer.json is not a tokenizer", "Fetch the model again.")


def test_truncated_weights_are_told_with_both_sizes(desk):
    weights = desk.project / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    has = weights.stat().st_size
    refused(desk, f"model.safetensors: truncated: file has {has} bytes, header promises {has + 7}", "Fetch the model again.")


def test_an_architecture_that_cannot_be_exported_is_told_before_anything_is_quantized(desk):
    write_model(desk.project / "model", architectures=["MambaForCausalLM"])
    refused(desk, "MambaForCausalLM cannot be exported: the exporter does not know it.", "LlamaForCausalLM")


def test_a_plan_that_does_not_fit_on_the_disk_is_told_with_both_figures(desk):
    write_model(desk.project / "model", parameters=2 * 10**12)
    said = refused(desk, "The plan needs about 19.0 TB and ", " are free at ", "`edge clean` shows what can go", code=6)
    assert str(desk.home) in said
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 6 and "disk: about 19.0 TB needed at most" in checked.stdout


def test_a_device_with_too_little_memory_is_told_with_what_would_do(desk):
    write_model(desk.project / "model", num_attention_heads=64, num_key_value_heads=64, head_dim=65536)
    told = "cpu: does not fit: 128 tokens need 8321 MB, the device has 2048 MB; memory_mb = 8321 would do."
    refused(desk, told, "data/devices/cpu.toml")
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 3 and f"error: {told}" in checked.stdout
    assert "1 problem must be solved before a run." in checked.stderr


def test_what_a_device_has_memory_for_is_told_before_anything_is_built(desk):
    write_model(desk.project / "model", num_attention_heads=1)
    checked = desk.edge("check", desk.recipe)
    assert checked.returncode == 0 and "memory on cpu: 128 tokens need 129 MB of its 2048 MB." in checked.stdout


def test_a_device_that_no_build_was_made_for_is_told(desk):
    assert desk.edge("run", desk.recipe).returncode == 0
    unknown = desk.edge("package", "1", "--device", "tpu")
    assert (unknown.returncode, unknown.stdout) == (3, "")
    assert "Unknown device 'tpu'." in unknown.stderr
    assert len(desk.runs()) == 1


def test_an_unfinished_build_is_not_packaged(desk):
    desk.run_until_it_waits()
    done = desk.edge("package", "1")
    assert (done.returncode, done.stdout) == (5, "")
    assert "has no finished build in it" in done.stderr and "edge show" in done.stderr
    assert len(desk.runs()) == 1


def test_a_missing_build_environment_is_told_before_a_driver_starts(desk):
    done = desk.edge("run", desk.recipe, EDGE_BUILD_PYTHON="/nonexistent/python")
    assert (done.returncode, done.stdout) == (4, "")
    assert "The local build environment is not installed" in done.stderr and "make build-env" in done.stderr
