"""Folding and rounding on tiny models: nothing is lost by folding, and never more than by plain rounding."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from passes.awq_fold import fold_and_round, round_plainly, split_rows
from passes.bounds import bounded_and_rounded
from passes.gpu_room import bytes_needed, tokens_that_fit
from passes.grid import Grid
from passes.held_out import Judgement
from rows import calibration_ids
from safetensors.torch import load_file, save_file
from step_io import StepError, read_step
from step_quantize import quantize
from tiny_models import TINY, save, step_file, tiny_llama, tiny_phi3, tiny_tokenizer
from transformers import AutoModelForCausalLM

PHI = SimpleNamespace(
    hidden_size=3072, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=32, vocab_size=32064, num_hidden_layers=32
)

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=["llama", "phi3"])
def model(request, tmp_path):
    """The folder of a tiny model."""
    return save(TINY[request.param](), tmp_path / "model")


def token_ids(rows: int = 12, length: int = 32, seed: int = 3) -> torch.Tensor:
    return torch.randint(2, 258, (rows, length), generator=torch.Generator().manual_seed(seed))


def silent(number: int, total: int, measured: dict) -> None:
    """Nobody listens."""


def logits(folder, ids, config_from=None):
    if config_from is not None:
        (folder / "config.json").write_bytes((config_from / "config.json").read_bytes())
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(ids).logits


def test_rounding_with_the_search_loses_less_than_plain_rounding(model, tmp_path):
    fold_and_round(model, tmp_path / "searched", token_ids(), Grid(), silent)
    round_plainly(model, tmp_path / "plain", Grid(), silent)
    for ids, most in ((token_ids(), 0.9), (token_ids(seed=4), 1.0)):
        wanted = logits(model, ids)
        plain_error = (logits(tmp_path / "plain", ids, model) - wanted).pow(2).mean()
        assert (logits(tmp_path / "searched", ids, model) - wanted).pow(2).mean() < most * plain_error


def test_every_layer_is_kept_with_no_more_error_than_plain_rounding_on_rows_the_search_has_not_seen(model, tmp_path):
    told = []
    report = fold_and_round(model, tmp_path / "out", token_ids(), Grid(), lambda *said: told.append(said))
    assert [number for number, _, _ in told] == [0, 1]
    for _, total, measured in told:
        assert total == report.layers == 2
        assert 0 < measured["found_error"] <= measured["plain_error"]


def test_a_layer_on_which_the_search_loses_is_rounded_plainly(model, tmp_path, monkeypatch):
    def spoil(layer, *_):
        layer.mlp.down_proj.weight.data.zero_()

    monkeypatch.setattr("passes.awq_fold.fold_layer", spoil)
    report = fold_and_round(model, tmp_path / "out", token_ids(), Grid(), silent)
    round_plainly(model, tmp_path / "plain", Grid(), silent)
    assert report.plain_layers == 2
    assert torch.equal(logits(tmp_path / "out", token_ids(), model), logits(tmp_path / "plain", token_ids(), model))


def test_a_search_that_loses_on_the_whole_model_is_given_up_for_plain_rounding(model, tmp_path, monkeypatch):
    monkeypatch.setattr("passes.held_out.HeldOut.judge", lambda *_: Judgement(10, 12, 13, 0.1, 0.2, 5.0))
    report = fold_and_round(model, tmp_path / "out", token_ids(), Grid(), silent)
    round_plainly(model, tmp_path / "plain", Grid(), silent)
    assert report.as_metrics()["layers_rounded_plainly"] == 2
    assert report.as_metrics()["perplexity_kept"] == 12
    assert torch.equal(logits(tmp_path / "out", token_ids(), model), logits(tmp_path / "plain", token_ids(), model))


@pytest.mark.parametrize(
    ("divergence", "sureness", "is_plain"), [(0.05, 0.4, False), (0.05, 2.5, True), (0.15, -1.0, True), (float("nan"), 0.0, True)]
)
def test_the_search_is_given_up_for_more_divergence_or_a_perplexity_that_is_surely_worse(divergence, sureness, is_plain):
    assert Judgement(10, 12, 11, 0.1, divergence, sureness).is_plain_better == is_plain


def test_parts_that_are_to_be_kept_are_not_rounded(model, tmp_path):
    for work in (lambda out: fold_and_round(model, out, token_ids(), Grid(), silent, keep=("down_proj", "first_layer")),
                 lambda out: round_plainly(model, out, Grid(), silent, keep=("down_proj", "first_layer"))):  # fmt: skip
        work(tmp_path / "out")
        made = load_file(tmp_path / "out" / "model.safetensors")
        is_rounded = {
            name: torch.allclose(Grid().rounded(weight), weight, atol=1e-5) for name, weight in made.items() if "_proj.weight" in name
        }
        assert not any(rounded for name, rounded in is_rounded.items() if "layers.0" in name or "down_proj" in name)
        assert all(rounded for name, rounded in is_rounded.items() if "layers.1" in name and "down_proj" not in name)


def test_held_out_rows_come_from_everywhere_and_are_not_searched_with():
    ids = torch.arange(40)[:, None].expand(40, 8)
    searched, held_out = split_rows(ids)
    assert sorted([*searched[:, 0].tolist(), *held_out[:, 0].tolist()]) == list(range(40))
    assert len(held_out) == 4 and held_out[0, 0] < 10 and held_out[-1, 0] >= 30


@pytest.mark.parametrize("grid", [Grid(), Grid(symmetric=True), Grid(group_size=16)], ids=str)
def test_rounding_what_lies_on_the_grid_moves_nothing(grid):
    weight = torch.randn(24, 80, generator=torch.Generator().manual_seed(6))
    groups = -(-80 // grid.group_size)
    once = bounded_and_rounded(weight, torch.eye(grid.group_size).expand(groups, -1, -1), grid)
    assert torch.allclose(grid.rounded(once), once, atol=1e-6)
    assert not torch.allclose(once, weight, atol=1e-3)


@pytest.mark.parametrize("grid", [Grid(), Grid(symmetric=True)], ids=str)
def test_a_group_never_holds_more_values_than_it_has_codes(grid):
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(7))
    for group in grid.grouped(grid.rounded(weight)).flatten(0, 1):
        assert len(group.unique()) <= 16


def test_bounds_never_cost_more_than_no_bounds_and_spare_the_first_rows():
    generator = torch.Generator().manual_seed(8)
    weight = torch.randn(32, 64, generator=generator) ** 3
    inputs = torch.randn(256, 64, generator=generator)
    moments = inputs.T @ inputs / len(inputs)
    parts = [slice(start, start + 32) for start in (0, 32)]
    blocks = torch.stack([moments[part, part] for part in parts])

    def group_errors(rounded: torch.Tensor) -> torch.Tensor:
        lost = rounded - weight
        return torch.stack([((lost[:, part] @ moments[part, part]) * lost[:, part]).sum(1) for part in parts])

    bounded = group_errors(bounded_and_rounded(weight, blocks, Grid()))
    plain = group_errors(Grid().rounded(weight))
    assert (bounded <= plain + 1e-6).all()
    assert bounded.sum() < plain.sum()
    spared = bounded_and_rounded(weight, blocks, Grid(), first_bounded_row=10)
    assert torch.equal(spared[:10], Grid().rounded(weight)[:10]) and not torch.equal(spared[10:], Grid().rounded(weight)[10:])


def test_a_group_of_zeros_stays_zero():
    assert Grid().rounded(torch.zeros(2, 32)).eq(0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("algorithm", ["awq", "rtn"])
def test_a_weight_that_is_no_number_is_named(tmp_path, value, algorithm):
    base = save(tiny_phi3(), tmp_path / "model")
    weights = load_file(base / "model.safetensors")
    weights["model.layers.1.self_attn.o_proj.weight"][3, 5] = value
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(StepError, match=r"model\.safetensors: 1 of 4096 numbers of model\.layers\.1\.self_attn\.o_proj\.weight"):
        step(tmp_path, base, "some words to look at " * 40, algorithm=algorithm)


def step(tmp_path, base, text, **options):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": text}))
    asked = {"algorithm": "awq", "calibration_samples": 8, "sequence_length": 32, **options}
    quantize(read_step(step_file(tmp_path / "step", "quantize", asked, {"model": base, "calibration": tmp_path / "rows.jsonl"})))
    return tmp_path / "step" / "out"


@pytest.mark.parametrize(
    ("text", "said"),
    [("too short", r"rows\.jsonl: the calibration text has 9 tokens; 128"), ("a" * 500, r"rows\.jsonl: 256 of the 256 tokens .*: 'a'")],
)
def test_calibration_text_that_tells_nothing_is_refused_before_the_model_is_read(tmp_path, text, said):
    base = save(tiny_llama(), tmp_path / "model")
    (base / "model.safetensors").unlink()
    with pytest.raises(StepError, match=said) as raised:
        step(tmp_path, base, text)
    assert "[quantize] calibration" in raised.value.hint and 'algorithm = "rtn"' in raised.value.hint


def test_a_short_text_is_cut_into_shorter_sequences(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "forty words and some more " * 8}))
    found = calibration_ids(tiny_tokenizer(), "", tmp_path / "rows.jsonl", samples=24, length=128)
    assert [len(ids) for ids in found] == [52] * 4


def test_sequences_longer_than_the_model_reads_are_refused(tmp_path):
    base = save(tiny_llama(), tmp_path / "model")
    with pytest.raises(StepError, match="sequence_length is 512; the model reads 256"):
        step(tmp_path, base, "words " * 400, sequence_length=512)


def test_a_quantized_model_is_refused(tmp_path):
    base = save(tiny_llama(), tmp_path / "model")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(StepError, match="quantized already"):
        step(tmp_path, base, "words " * 400)


def test_the_step_leaves_a_model_on_the_grid_and_says_what_it_measured(tmp_path):
    made = step(tmp_path, save(tiny_llama(), tmp_path / "model"), "some words to look at " * 40)
    network = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    weight = network.model.layers[1].mlp.down_proj.weight.data
    assert torch.allclose(Grid().rounded(weight), weight, atol=1e-5)
    assert json.loads((made / "grid.json").read_text())["group_size"] == 32
    measured = json.loads((made / "metrics.json").read_text())
    assert measured["quantize.layers"] == 2
    assert measured["quantize.found_error_per_layer"] <= measured["quantize.plain_error_per_layer"]
    assert measured["quantize.seconds_per_layer"] > 0
    assert {"quantize.perplexity_float", "quantize.perplexity_plain", "quantize.perplexity_kept"} < measured.keys()
    assert "quantize.gpu_bytes_peak" not in measured


def test_no_quantisation_passes_the_files_through(tmp_path):
    base = save(tiny_llama(), tmp_path / "model")
    asked = step_file(tmp_path / "step", "quantize", {"algorithm": "none"}, {"model": base})
    quantize(read_step(asked))
    for file in base.iterdir():
        assert (tmp_path / "step/out" / file.name).read_bytes() == file.read_bytes()


def test_a_4b_model_needs_less_than_10_gb_of_gpu_memory():
    assert bytes_needed(PHI, 120, 8, 512, 4096) < 10e9


def test_with_little_gpu_memory_fewer_tokens_go_through_a_layer_together():
    roomy = tokens_that_fit(PHI, 120, 8, 512, free=100_000_000_000, wanted=4096)
    least = bytes_needed(PHI, 120, 8, 512, 512)
    tight = tokens_that_fit(PHI, 120, 8, 512, free=least + 1, wanted=4096)
    assert (roomy, tight) == (4096, 512)


def test_with_too_little_gpu_memory_the_number_of_sequences_that_would_fit_is_told():
    free = 5_000_000_000
    with pytest.raises(StepError, match=r"The GPU has 5\.0 GB free; .* needs \d+\.\d GB") as raised:
        tokens_that_fit(PHI, 1000, 8, 512, free, wanted=4096)
    fitting = int(re.search(r"calibration_samples = (\d+)", raised.value.hint)[1])
    assert tokens_that_fit(PHI, fitting - 8, 8, 512, free, wanted=4096) == 512


def test_a_gpu_on_which_nothing_fits_is_refused_with_another_way_out():
    with pytest.raises(StepError) as raised:
        tokens_that_fit(PHI, 100, 8, 512, 1_000_000_000, wanted=4096)
    assert "GPU with more memory" in raised.value.hint and "CUDA_VISIBLE_DEVICES" in raised.value.hint
