"""What a training learns does not depend on how it is cut, packed, killed or spread; what does not work is said in words."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from passes import training_fit
from passes.training_batches import batch_of, counted, pieces, plan
from passes.training_checkpoints import Checkpoints
from passes.training_fit import Fit, Need, estimated, fitting, no_room
from passes.training_model import AdapterModel
from passes.training_processes import run_together
from passes.training_teller import TrainingTeller
from rows import Tokens
from step_io import StepError
from tiny_models import save, tiny_llama, tiny_phi3
from training_desk import SETTINGS, adapter, are_close, are_equal, job_in, progress, rows, summary, trained, with_checkpoints

BUILD = Path(__file__).resolve().parents[3] / "containers" / "build"
CPU = torch.device("cpu")
WORKER = "import sys; from pathlib import Path; from passes.training_job import Job; from passes.training_loop import train; \
from passes.training_processes import alone; train(Job.load(Path(sys.argv[1])), alone())"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tiny_llama(), tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """A training that nothing happened to."""
    job = job_in(tmp_path_factory.mktemp("whole"), model)
    trained(job)
    return job


def test_every_row_is_learnt_from_once_an_epoch():
    steps = plan([3, 9, 4, 4, 8, 1, 2], replace(SETTINGS, batch_size=3, epochs=2.0))
    assert [len(step) for step in steps].count(1) == 2
    assert sorted(row for step in steps[:3] for row in step) == sorted(row for step in steps[3:] for row in step) == list(range(7))


def test_steps_of_a_part_of_an_epoch_and_at_most_so_many():
    assert len(plan([1] * 10, replace(SETTINGS, batch_size=4, epochs=0.5))) == 2
    assert len(plan([1] * 10, replace(SETTINGS, batch_size=4, gradient_accumulation=2, epochs=3.0))) == 6
    assert len(plan([1] * 10, replace(SETTINGS, batch_size=4, max_steps=11))) == 11


def test_pieces_of_all_processes_are_the_whole_step():
    own = [list(pieces(range(11), 2, process, 3)) for process in range(3)]
    assert sorted(row for process in own for piece in process for row in piece) == list(range(11))
    assert all(len(piece) <= 2 for process in own for piece in process)


def test_the_learning_rate_rises_then_falls():
    rates = [replace(SETTINGS, warmup_ratio=0.2).learning_rate_at(step, 20) for step in range(20)]
    assert 0 < rates[0] < rates[3] < rates[4] == max(rates) == SETTINGS.learning_rate
    assert rates[-1] < 0.02 * SETTINGS.learning_rate


def test_only_tokens_of_the_answer_have_a_loss():
    row = Tokens([5, 6, 7, 8], 2)
    padded = batch_of([row, Tokens([1, 2, 3, 4, 9, 9], 4)], is_packed=False)
    assert padded.targets.tolist() == [7, 8, 9, 9]
    assert padded.ids.flatten()[padded.predicting].tolist() == [6, 7, 4, 9]
    assert counted(row) == 2
    assert counted(Tokens([5, 6, 7], 0)) == 2, "nothing stands before the first token"


@pytest.mark.parametrize("make", [tiny_llama, tiny_phi3])
def test_packed_rows_do_not_see_each_other(make, tmp_path):
    layers = ("q_proj",) if make is tiny_llama else ("qkv_proj",)
    net = AdapterModel(job_in(tmp_path / "job", save(make(), tmp_path / "model"), targets=layers), CPU)
    some = rows(5)
    with torch.no_grad():
        apart = sum(net.summed_loss(batch_of([row], is_packed=False)) for row in some)
        packed = net.summed_loss(batch_of(some, is_packed=True))
        padded = net.summed_loss(batch_of(some, is_packed=False))
        whole = net.summed_loss(batch_of([Tokens([token for row in some for token in row.ids], 1)], is_packed=False))
    assert torch.allclose(packed, apart, rtol=1e-5)
    assert torch.allclose(padded, apart, rtol=1e-5)
    assert not torch.allclose(whole, apart, rtol=1e-2), "a row that sees the others has another loss"


@pytest.mark.parametrize("how", [{"rows": "packed"}, {"micro_batch": 1}, {"micro_batch": 4, "rows": "packed"}], ids=str)
def test_how_a_step_is_cut_changes_nothing(whole, model, tmp_path, how):
    job = job_in(tmp_path, model, **how)
    trained(job)
    assert are_close(adapter(job), adapter(whole))
    assert progress(job)[-1].metrics["micro_batch"] == how.get("micro_batch", 6)


def test_batches_that_are_accumulated_are_one_larger_batch(whole, model, tmp_path):
    job = job_in(tmp_path, model, batch_size=2, gradient_accumulation=3)
    trained(job)
    assert are_close(adapter(job), adapter(whole))


def test_full_text_is_learnt_where_that_is_asked(whole, model, tmp_path):
    job = job_in(tmp_path, model, rows_given=[Tokens(row.ids, 0) for row in rows(14)])
    trained(job)
    assert not are_close(adapter(job), adapter(whole), within=1e-2)


def test_computing_activations_again_changes_nothing(whole, model, tmp_path, monkeypatch):
    monkeypatch.setattr(training_fit, "estimated", lambda rows, free, row_bytes: Fit(rows, recomputes=True))
    job = job_in(tmp_path, model)
    trained(job)
    assert are_close(adapter(job), adapter(whole))
    assert summary(job)["train.gradient_checkpointing"] == 1


def test_where_memory_runs_out_the_step_is_made_again_in_smaller_pieces(whole, model, tmp_path, monkeypatch):
    honest = AdapterModel.summed_loss

    def with_little_memory(net, batch):
        if len(batch.ids) > 2 and batch.ids.requires_grad is False and torch.is_grad_enabled() and steps_made(net) >= 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(net, batch)

    made = []
    monkeypatch.setattr(torch.optim.AdamW, "step", counting(torch.optim.AdamW.step, made))

    def steps_made(_net):
        return len(made) - 1  # the first takes room for the averages

    monkeypatch.setattr(AdapterModel, "summed_loss", with_little_memory)
    job = job_in(tmp_path, model)
    trained(job)
    assert are_close(adapter(job), adapter(whole))
    assert summary(job)["train.micro_batch"] == 2
    assert summary(job)["train.steps"] == summary(whole)["train.steps"]


def counting(honest, made):
    def counted_step(*args, **kwargs):
        made.append(1)
        return honest(*args, **kwargs)

    return counted_step


def test_not_even_one_row_fits_is_an_error_that_says_what_would(model, tmp_path, monkeypatch):
    def no_memory(net, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    job = job_in(tmp_path, model, micro_batch=6)
    monkeypatch.setattr(AdapterModel, "summed_loss", no_memory)
    with pytest.raises(StepError, match="One row of 10 tokens does not fit") as raised:
        trained(job)
    assert "rank" in raised.value.hint


def test_the_largest_pieces_that_fit_are_found():
    tried = []

    def fits(fit):
        tried.append(fit)
        if fit.micro_batch > 3:
            raise torch.OutOfMemoryError

    assert fitting(Fit(16), 16, fits) == Fit(2)
    assert [fit.micro_batch for fit in tried] == [16, 8, 4, 2]


def test_activations_are_computed_again_only_where_not_one_row_fits_otherwise():
    def fits(fit):
        if not fit.recomputes or fit.micro_batch > 4:
            raise torch.OutOfMemoryError

    assert fitting(Fit(8), 8, fits) == Fit(4, recomputes=True)
    assert fitting(Fit(2), 8, lambda fit: fits(Fit(99))) is None


def test_without_a_gpu_pieces_are_reckoned_by_memory():
    free = 10 * training_fit.TRANSIENT / training_fit.USED_SHARE + 0.1
    assert estimated(4, free, lambda recomputes: 1.0) == Fit(4)
    assert estimated(16, free, lambda recomputes: 1.0) == Fit(8)
    assert estimated(16, free, lambda recomputes: 1.0 if recomputes else 99.0) == Fit(8, recomputes=True)
    assert estimated(16, free, lambda recomputes: 99.0) is None


def test_what_a_row_takes_is_measured(model, tmp_path):
    net = AdapterModel(job_in(tmp_path, model), CPU)
    one, two = (
        training_fit.kept_bytes(net.peft, lambda count=count: net.summed_loss(batch_of([Tokens([7] * 32, 2)] * count, is_packed=False)))
        for count in (1, 2)
    )
    assert 1.7 < two / one < 2.1
    assert one > 32 * 64 * 4 * 2, "more than a hidden state for each block"


def test_a_gpu_that_is_too_small_for_the_model_is_refused_before_loading():
    need = Need(weights=8 * 2**30, adapter=2**26, rank=64)
    need.require(free=9 * 2**30 + 1)
    with pytest.raises(StepError, match=r"model \(8.0 GiB\) .* adapter in training \(1.0 GiB\) do not fit: 8.5 GiB are free") as raised:
        need.require(free=int(8.5 * 2**30))
    assert "set rank = 16" in raised.value.hint
    with pytest.raises(StepError) as raised:
        need.require(free=4 * 2**30)
    assert "smaller base model" in raised.value.hint


def test_a_row_that_does_not_fit_is_told_with_the_length_that_does():
    error = no_room(Need(8 * 2**30, 2**26, 64), free=9 * 2**30, tokens=4096, able_tokens=1024)
    assert "4096 tokens" in str(error)
    assert "max_tokens = 1024" in error.hint
    assert "halve rank (saves 0.5 GiB)" in error.hint


def test_a_training_that_was_killed_goes_on_and_learns_the_same(whole, model, tmp_path):
    job = with_checkpoints(job_in(tmp_path, model, max_steps=40))
    uninterrupted = job_in(tmp_path / "whole", model, max_steps=40)
    trained(uninterrupted)
    kill_after_steps(job, 5)
    trained(job)
    went_on = summary(job)["train.resumed_from"]
    assert 5 <= went_on < 40
    assert are_equal(adapter(job), adapter(uninterrupted))
    assert summary(job)["train.loss_first"] == summary(uninterrupted)["train.loss_first"]
    assert summary(job)["train.loss_last"] == summary(uninterrupted)["train.loss_last"]
    assert summary(job)["train.steps"] == 40
    assert any(event.message == f"goes on after step {went_on}" for event in progress(job))


def kill_after_steps(job, steps: int) -> None:
    """Start the training, and kill it with SIGKILL once it has told so many steps and kept a checkpoint."""
    slow = f"import time, torch.optim as o; s = o.AdamW.step; o.AdamW.step = lambda self: (time.sleep(0.2), s(self)); {WORKER}"
    job.save(Path(job.place.scratch, "job.json"))
    command = [sys.executable, "-c", slow, str(Path(job.place.scratch, "job.json"))]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(BUILD)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    events_file, deadline = Path(job.place.run, "events.jsonl"), time.monotonic() + 120
    while not (events_file.exists() and progress(job) and progress(job)[-1] and progress(job)[-1].done >= steps):
        assert process.poll() is None and time.monotonic() < deadline, "the training did not come so far"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_dropout_goes_on_as_it_would_have(model, tmp_path, monkeypatch):
    job = job_in(tmp_path, model, dropout=0.3, max_steps=6)
    trained(job)
    half = job_in(tmp_path / "half", model, dropout=0.3, max_steps=6)
    with pytest.raises(KeyboardInterrupt):
        interrupted(half, 3, monkeypatch)
    trained(half)
    assert summary(half)["train.resumed_from"] == 3
    assert are_equal(adapter(half), adapter(job))


def interrupted(job, after: int, monkeypatch) -> None:
    """Train until the checkpoint of step `after` is written."""

    def write(checkpoints, state):
        honest(checkpoints, state)
        if state["done"] == after:
            raise KeyboardInterrupt

    honest = Checkpoints.write
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "write", write)
        patched.setattr(Checkpoints, "is_due", True)
        trained(job)


@pytest.mark.parametrize("spoil", ["other key", "torn"])
def test_a_checkpoint_of_something_else_or_a_torn_one_is_not_gone_on_from(whole, model, tmp_path, spoil):
    other = with_checkpoints(job_in(tmp_path, model, key="other", seed=99))
    trained(other)
    kept = tmp_path / "checkpoint.pt"
    if spoil == "torn":
        kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    job = job_in(tmp_path, model, key="other" if spoil == "torn" else "key")
    trained(job)
    assert summary(job)["train.resumed_from"] == 0
    assert are_equal(adapter(job), adapter(whole))


def test_early_stop_keeps_the_best_adapter_and_says_where(model, tmp_path):
    job = job_in(tmp_path, model, patience=2, evaluate_every=2, max_steps=60, learning_rate=0.1, scheduler="constant")
    trained(job)
    measured, told = summary(job), progress(job)
    assert measured["train.stopped_early"] == 1
    assert measured["train.best_step"] < measured["train.steps"] == measured["train.best_step"] + 4
    held_out = [(event.done, event.metrics["held_out_loss"]) for event in told if "held_out_loss" in event.metrics]
    assert min(held_out, key=lambda one: one[1]) == (measured["train.best_step"], measured["train.held_out_loss_best"])
    assert any(f"has not fallen since step {measured['train.best_step']:g}" in event.message for event in told)


def test_early_stop_goes_on_after_a_kill_as_it_would_have(model, tmp_path, monkeypatch):
    options = {"patience": 3, "evaluate_every": 2, "max_steps": 12}
    uninterrupted = job_in(tmp_path / "whole", model, **options)
    trained(uninterrupted)
    job = job_in(tmp_path / "half", model, **options)
    with pytest.raises(KeyboardInterrupt):
        interrupted(job, 4, monkeypatch)
    trained(job)
    assert summary(job)["train.best_step"] == summary(uninterrupted)["train.best_step"]
    assert are_equal(adapter(job), adapter(uninterrupted))


def test_two_processes_learn_what_one_learns(whole, model, tmp_path):
    job = job_in(tmp_path, model)
    run_together(job, 2)
    assert summary(job)["train.processes"] == 2
    assert are_close(adapter(job), adapter(whole))
    assert summary(job)["train.loss_last"] == pytest.approx(summary(whole)["train.loss_last"], rel=1e-3)
    assert [event.done for event in progress(job)][-1] == len(plan([9] * 14, SETTINGS)), "told once, by the first process"


def test_what_one_of_several_processes_says_ends_the_training(model, tmp_path):
    everything = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    job = job_in(tmp_path, model, learning_rate=1e30, max_steps=30, targets=everything)
    with pytest.raises(StepError, match="not a number any more at step"):
        run_together(job, 2)


def test_a_learning_rate_that_ruins_the_model_is_named(model, tmp_path):
    teller = TrainingTeller(job_in(tmp_path, model, learning_rate=0.5), steps=100, vocabulary=50_000)
    teller.check([2.0, *[9.0] * 30], new=1)
    teller.check([11.5, *[10.9] * 30], new=1)
    with pytest.raises(StepError, match=r"rose from 2.00 to 10.80 by step 31: no better than guessing \(10.82\)") as raised:
        teller.check([2.0, *[10.8] * 30], new=1)
    assert raised.value.hint == "Lower finetune.learning_rate: it is 0.5, and 0.0002 is usual."


def test_bfloat16_keeps_the_adapter_in_float32(model, tmp_path):
    job = job_in(tmp_path, model, dtype="bfloat16", epochs=6.0)
    trained(job)
    assert {tensor.dtype for tensor in adapter(job).values()} == {torch.float32}
    assert summary(job)["train.loss_last"] < summary(job)["train.loss_first"] - 1
