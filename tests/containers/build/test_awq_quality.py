"""AWQ on a model that has learnt something: better than plain rounding on text it never saw, and as good as AutoAWQ."""

import json

import pytest
import torch
from make_autoawq_reference import CALIBRATION_ROWS, REFERENCE, scales
from passes.awq_fold import fold_and_round, round_plainly
from passes.grid import Grid
from tiny_models import save
from trained_model import perplexity, texts, trained_model
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The trained model, as AWQ makes it and as plain rounding does."""
    folder = tmp_path_factory.mktemp("trained")
    base = save(trained_model(), folder / "model")

    def silent(*_):
        """Nobody listens."""

    report = fold_and_round(base, folder / "awq", texts()[0][:CALIBRATION_ROWS], Grid(), silent)
    assert not report.is_plain and report.plain_layers == 0
    round_plainly(base, folder / "plain", Grid(), silent)
    for name in ("awq", "plain"):
        (folder / name / "config.json").write_bytes((base / "config.json").read_bytes())
    return {name: AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32) for name in ("model", "awq", "plain")}


@pytest.fixture(scope="module")
def perplexities(models):
    return {name: perplexity(model, texts()[1]) for name, model in models.items()}


@pytest.fixture(scope="module")
def reference():
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def test_the_model_is_the_one_that_the_reference_was_made_from(perplexities, reference):
    assert perplexities["model"] == pytest.approx(reference["perplexity_float"], rel=0.02)
    assert perplexities["plain"] == pytest.approx(reference["perplexity_plain"], rel=0.02)


def test_on_text_it_never_saw_it_is_better_than_plain_rounding(perplexities):
    assert perplexities["model"] < perplexities["awq"] < perplexities["plain"]


def test_its_perplexity_after_int4_is_within_half_a_percent_of_autoawqs(perplexities, reference):
    assert perplexities["awq"] <= 1.005 * reference["perplexity_autoawq"]


def test_its_scales_favour_the_same_inputs_as_autoawqs(models, reference):
    ours = scales(models["model"], models["awq"])
    assert ours.keys() == reference["scales"].keys()
    for name, scale in ours.items():
        pair = torch.stack([scale.detach().log(), torch.tensor(reference["scales"][name]).log()])
        assert torch.corrcoef(pair)[0, 1] > 0.8, name
