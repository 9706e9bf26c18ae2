"""Folding and rounding on tiny models: nothing is lost by folding, and never more than by plain rounding."""

import copy
import json

import pytest
import torch
from passes.awq import fold_and_round
from passes.awq_search import Effort, LayerSearch, bounded_and_rounded
from passes.decoder_shapes import UnknownDecoder, check_known, folds_of
from passes.grid import Grid
from step_io import StepError, read_step
from step_quantize import quantize
from tiny_models import save, step_file, tiny_llama, tiny_phi3
from transformers import AutoModelForCausalLM, GPT2Config

MODELS = {
    "llama, grouped queries": lambda: tiny_llama(key_heads=2),
    "llama, a key for each query": lambda: tiny_llama(key_heads=4),
    "phi-3, fused": tiny_phi3,
}

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=MODELS, ids=list(MODELS))
def model(request):
    return MODELS[request.param]()


def token_ids(rows: int = 12, length: int = 32, seed: int = 3) -> torch.Tensor:
    return torch.randint(2, 258, (rows, length), generator=torch.Generator().manual_seed(seed))


def test_folding_alone_changes_nothing(model):
    ids = token_ids(2)
    before = model(ids).logits
    for layer in model.model.layers:
        for fold in folds_of(layer, model.config):
            inputs = fold.readers[0].weight.shape[1]
            scales = torch.exp(torch.randn(inputs, generator=torch.Generator().manual_seed(inputs)))
            fold.apply(fold.shared(scales))
    assert torch.allclose(model(ids).logits, before, atol=2e-4)


def test_rounding_with_the_search_is_never_worse_than_plain_rounding(model):
    ids = token_ids()
    wanted = model(ids).logits
    plain, searched = copy.deepcopy(model), copy.deepcopy(model)
    for layer in plain.model.layers:
        for fold in folds_of(layer, plain.config):
            for linear in fold.readers:
                linear.weight.data = Grid().rounded(linear.weight.data)
    fold_and_round(searched, ids, Grid())
    plain_error = (plain(ids).logits - wanted).pow(2).mean()
    assert (searched(ids).logits - wanted).pow(2).mean() < 0.9 * plain_error
    unseen = token_ids(seed=4)
    wanted = model(unseen).logits
    assert (searched(unseen).logits - wanted).pow(2).mean() < (plain(unseen).logits - wanted).pow(2).mean()


def test_every_layer_reports_no_more_error_than_plain_rounding(model):
    hidden = torch.randn(4, 16, 64, generator=torch.Generator().manual_seed(5))
    places = torch.arange(16)[None]
    kwargs = {"position_embeddings": model.model.rotary_emb(hidden, places), "attention_mask": None}
    report = LayerSearch(model.model.layers[0], model.config, Grid(), hidden, kwargs, Effort()).find_and_fold()
    assert 0 < report.found_error <= report.plain_error


@pytest.mark.parametrize("grid", [Grid(), Grid(symmetric=True), Grid(group_size=16)], ids=str)
def test_rounding_what_lies_on_the_grid_moves_nothing(grid):
    weight = torch.randn(24, 80, generator=torch.Generator().manual_seed(6))
    once = bounded_and_rounded(weight, torch.eye(80), grid)
    assert torch.allclose(grid.rounded(once), once, atol=1e-6)
    assert not torch.allclose(once, weight, atol=1e-3)


@pytest.mark.parametrize("grid", [Grid(), Grid(symmetric=True)], ids=str)
def test_a_group_never_holds_more_values_than_it_has_codes(grid):
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(7))
    for group in grid.grouped(grid.rounded(weight)).flatten(0, 1):
        assert len(group.unique()) <= 16


def test_bounds_never_cost_more_than_no_bounds():
    generator = torch.Generator().manual_seed(8)
    weight = torch.randn(32, 64, generator=generator) ** 3
    inputs = torch.randn(256, 64, generator=generator)
    moments = inputs.T @ inputs / len(inputs)
    blocks = [slice(start, start + 32) for start in (0, 32)]

    def group_errors(rounded: torch.Tensor) -> torch.Tensor:
        lost = rounded - weight
        return torch.stack([((lost[:, block] @ moments[block, block]) * lost[:, block]).sum(1) for block in blocks])

    bounded = group_errors(bounded_and_rounded(weight, moments, Grid()))
    plain = group_errors(Grid().rounded(weight))
    assert (bounded <= plain + 1e-6).all()
    assert bounded.sum() < plain.sum()


def test_a_group_of_zeros_stays_zero():
    assert Grid().rounded(torch.zeros(2, 32)).eq(0).all()


def test_other_architectures_are_refused():
    with pytest.raises(UnknownDecoder, match="gpt2"):
        check_known(GPT2Config())


def test_the_step_refuses_other_architectures_before_it_loads_them(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    asked = step_file(tmp_path / "step", "quantize", {"algorithm": "awq"}, {"model": tmp_path / "model"})
    with pytest.raises(StepError, match="mamba") as raised:
        quantize(read_step(asked))
    assert "none" in raised.value.hint


def test_the_step_leaves_a_model_on_the_grid(tmp_path):
    base = save(tiny_llama(), tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text('{"text": "%s"}\n' % ("some words to look at " * 40))
    asked = step_file(
        tmp_path / "step", "quantize", {"algorithm": "awq", "calibration_tokens": 256, "sequence_length": 32},
        {"model": base, "calibration": tmp_path / "rows.jsonl"},
    )  # fmt: skip
    quantize(read_step(asked))
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "step" / "out", dtype=torch.float32)
    weight = made.model.layers[1].mlp.down_proj.weight.data
    assert torch.allclose(Grid().rounded(weight), weight, atol=1e-5)
    assert json.loads((tmp_path / "step/out/grid.json").read_text())["group_size"] == 32
    measured = json.loads((tmp_path / "step/out/metrics.json").read_text())
    assert measured["quantize.layers"] == 2
    assert measured["quantize.found_error_per_layer"] <= measured["quantize.plain_error_per_layer"]


def test_no_quantisation_passes_the_files_through(tmp_path):
    base = save(tiny_llama(), tmp_path / "model")
    asked = step_file(tmp_path / "step", "quantize", {"algorithm": "none"}, {"model": base})
    quantize(read_step(asked))
    for file in base.iterdir():
        assert (tmp_path / "step/out" / file.name).read_bytes() == file.read_bytes()
