"""Training rows, and the fine-tuning step on a tiny model."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import step_finetune
from rows import joined_ids, read_rows, tokenize_row
from shared import events
from step_finetune import finetune
from step_io import StepError, read_step
from tiny_models import save, step_file, tiny_llama, tiny_tokenizer

TEMPLATE = "<user>{prompt}<assistant>{response}."
ROW = {"prompt": "What is {this}?", "response": "A brace"}


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def test_the_loss_counts_the_response_and_what_ends_it():
    tokenizer = tiny_tokenizer()
    tokens = tokenize_row(tokenizer, TEMPLATE, ROW, "response")
    assert tokenizer.decode(tokens.ids[tokens.answer_from :]) == "A brace."
    assert tokenizer.decode(tokens.ids) == "<user>What is {this}?<assistant>A brace."
    assert tokenize_row(tokenizer, TEMPLATE, ROW, "text").answer_from == 0


def test_a_row_without_a_field_of_the_template_is_named():
    with pytest.raises(StepError, match="'response'"):
        tokenize_row(tiny_tokenizer(), TEMPLATE, {"prompt": "x"}, "response")


def test_a_template_without_a_response_is_refused():
    with pytest.raises(StepError, match="no {response}"):
        tokenize_row(tiny_tokenizer(), "{prompt}", ROW, "response")


def test_rows_may_hold_any_sign_of_unicode(tmp_path):
    rows = [{"prompt": "a\u2028b\u0085c", "response": "d\x0be"}] * 2
    assert read_rows(write(tmp_path / "rows.jsonl", rows)) == rows


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n[1]\n')
    with pytest.raises(StepError, match="line 3"):
        read_rows(tmp_path / "rows.jsonl")


def test_calibration_is_cut_into_equal_sequences():
    sequences = joined_ids(tiny_tokenizer(), TEMPLATE, [ROW] * 9 + [{"text": "x" * 500}], tokens=128, length=32)
    assert [len(ids) for ids in sequences] == [32] * 4


def test_calibration_with_less_text_than_one_sequence_takes_what_there_is():
    assert [len(ids) for ids in joined_ids(tiny_tokenizer(), "", [{"text": "abcde"}], 1000, 64)] == [5]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tiny_llama(), tmp_path_factory.mktemp("model"))


def asked(folder: Path, model: Path, **options):
    rows = [{"prompt": f"Say {sign}", "response": sign * 3} for sign in "abcdefgh"]
    everything = {
        "text_template": TEMPLATE, "rank": 4, "alpha": 8, "learning_rate": 2e-2, "epochs": 4, "batch_size": 4,
        "seed": 5, "dtype": "float32", **options,
    }  # fmt: skip
    folder.mkdir(parents=True)
    inputs = {"model": model, "train": write(folder / "train.jsonl", rows)}
    return read_step(step_file(folder / "step", "finetune", everything, inputs))


def test_training_lowers_the_loss_and_tells_its_steps(model, tmp_path):
    step = asked(tmp_path / "one", model)
    finetune(step)
    measured = json.loads((step.out / "metrics.json").read_text())
    assert measured["train.loss_last"] < measured["train.loss_first"] - 1
    assert measured["train.steps"] == 8
    assert measured["train.rows"] == 8
    told = [events.from_line(line) for line in (step.run / "events.jsonl").read_text().splitlines()]
    assert told[-1].done == told[-1].total == 8
    assert {"loss", "learning_rate", "rate"} <= set(told[-1].metrics)
    assert sorted(path.name for path in step.out.glob("adapter*")) == ["adapter_config.json", "adapter_model.safetensors"]


def test_the_same_seed_trains_the_same_adapter(model, tmp_path):
    steps = [asked(tmp_path / name, model, max_steps=2, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    for step in steps:
        finetune(step)
    first, again, other = ((step.out / "adapter_model.safetensors").read_bytes() for step in steps)
    assert first == again
    assert first != other


def test_rows_that_are_too_long_are_counted(model, tmp_path):
    with pytest.raises(StepError, match="8 of 8 rows are longer than 10 tokens") as raised:
        finetune(asked(tmp_path / "long", model, max_tokens=10))
    assert "max_tokens = " in raised.value.hint


def test_a_loss_that_is_no_number_ends_the_training(model, tmp_path):
    with pytest.raises(StepError, match="not a number any more at step"):
        finetune(asked(tmp_path / "nan", model, learning_rate=1e30, epochs=8))


def test_the_step_leaves_nothing_but_the_adapter(model, tmp_path):
    step = asked(tmp_path / "one", model, max_steps=1)
    finetune(step)
    assert not (step.out.parent / "training").exists()
    left = {path.name for path in step.out.iterdir()}
    assert left == {"adapter_config.json", "adapter_model.safetensors", "base.json", "metrics.json"}


def test_layers_that_the_model_lacks_are_named_beside_those_it_has(model, tmp_path):
    with pytest.raises(StepError, match="no layers called qkv_proj") as raised:
        finetune(asked(tmp_path / "absent", model, targets=["q_proj", "qkv_proj"]))
    assert "The model has: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj." in raised.value.hint


def test_a_rank_of_nothing_is_refused(model, tmp_path):
    with pytest.raises(StepError, match="rank 0 holds nothing"):
        finetune(asked(tmp_path / "rank", model, rank=0))


def test_a_row_whose_response_is_empty_is_refused(model, tmp_path):
    step = asked(tmp_path / "empty", model, text_template="{prompt}{response}")
    write(step.inputs["train"], [{"prompt": "x", "response": "y"}, {"prompt": "x", "response": ""}])
    with pytest.raises(StepError, match="empty response"):
        finetune(step)


def test_early_stop_without_a_held_out_row_that_can_be_looked_at_is_refused(model, tmp_path):
    step = asked(tmp_path / "stop", model, patience=1)
    step.inputs["held_out"] = write(tmp_path / "held_out.jsonl", [{"prompt": "x" * 600, "response": "y"}])
    with pytest.raises(StepError, match="No held-out row has a response and at most 512 tokens"):
        finetune(step)


def test_the_step_stops_early_on_its_held_out_rows(model, tmp_path):
    step = asked(tmp_path / "stop", model, patience=1, evaluate_every=1, max_steps=30, learning_rate=0.3, rows="packed")
    step.inputs["held_out"] = write(tmp_path / "held_out.jsonl", [{"prompt": f"Say {sign}", "response": sign * 3} for sign in "XYZ"])
    finetune(step)
    measured = json.loads((step.out / "metrics.json").read_text())
    assert measured["train.stopped_early"] == 1
    assert measured["train.steps"] < 30
    assert measured["train.held_out_loss_best"] <= measured["train.held_out_loss_first"]


def test_a_killed_step_goes_on_from_its_checkpoint_unless_something_changed(model, tmp_path):
    step = asked(tmp_path / "killed", model, max_steps=3000, checkpoint_seconds=0)
    folder = step.out.parent
    kill_with_a_checkpoint(folder)
    assert (folder / "training" / "checkpoint.pt").exists()
    options = {**step.options, "max_steps": 0, "epochs": 0.5}
    finetune(replace(step, options=options, key="something changed"))
    assert json.loads((step.out / "metrics.json").read_text())["train.resumed_from"] == 0
    kill_with_a_checkpoint(folder)
    finetune(replace(step, options={**options, "max_steps": last_step_told(folder) + 2}))
    measured = json.loads((step.out / "metrics.json").read_text())
    assert 0 < measured["train.resumed_from"] < measured["train.steps"]


def kill_with_a_checkpoint(folder: Path) -> None:
    """Run the step as the build program does, and kill it once it keeps a checkpoint."""
    script = Path(step_finetune.__file__)
    process = subprocess.Popen([sys.executable, script, folder / "step.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not (folder / "training" / "checkpoint.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline, "it kept no checkpoint"
        time.sleep(0.02)
    process.kill()
    process.wait()


def last_step_told(folder: Path) -> int:
    return int(max(events.from_line(line).done for line in (folder / "events.jsonl").read_text().splitlines()))
