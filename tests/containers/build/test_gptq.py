"""GPTQ leaves float weights whose codes the exporter finds again, and loses less of what the model computes than plain rounding."""

import copy
import json
import random
import string

import onnx
import pytest
import torch
from onnx import numpy_helper
from passes.grid import Grid
from passes.grid_file import read_points
from step_export import export
from step_io import StepError, read_step
from step_quantize import quantize
from tiny_models import save, step_file, tiny_llama, tiny_phi3, tiny_tokenizer
from transformers import AutoModelForCausalLM

MODELS = {"llama": tiny_llama, "phi3": tiny_phi3}


def letters(seed, count=40):
    return "".join(random.Random(seed).choices(string.printable[:95], k=count))


def rounded(folder, base, **options):
    """The model after the quantize step."""
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": letters(seed)}) + "\n" for seed in range(120)))
    asked = {"algorithm": "gptq", "calibration_samples": 128, "sequence_length": 32, **options}
    quantize(read_step(step_file(folder / "quantize", "quantize", asked, {"model": base, "calibration": folder / "rows.jsonl"})))
    return folder / "quantize" / "out"


def float_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory):
    """(float model, the folder of the rounded one)"""
    folder = tmp_path_factory.mktemp(request.param)
    base = save(MODELS[request.param](), folder / "model")
    return base, rounded(folder, base)


def codes_in(graph, stem, blocks, size):
    """The codes of a projection in an exported graph: `[out, in]`."""
    values = {
        value.name: numpy_helper.to_array(value, str(graph.parent))
        for value in onnx.load(graph, load_external_data=False).graph.initializer
    }
    bytes_ = next(value for name, value in values.items() if stem in name and name.endswith("_Q4"))
    pairs = torch.tensor(bytes_).flatten(1)
    return torch.stack([pairs & 15, pairs >> 4], -1).flatten(1)[:, : blocks * size]


def test_the_exporter_finds_the_very_codes_that_gptq_chose(made, tmp_path):
    base, quantized = made
    export(read_step(step_file(tmp_path / "export", "export", {"lm_head": "int4"}, {"model": quantized})))
    weight = float_model(quantized).model.layers[1].mlp.down_proj.weight.data
    scale, zero = read_points(quantized)["model.layers.1.mlp.down_proj"]
    groups = weight.unflatten(1, (-1, 32))
    wanted = (groups / scale[..., None]).round() + zero[..., None]
    found = codes_in(tmp_path / "export/out/model.onnx", "layers.1.mlp.down_proj", 4, 32)
    assert torch.equal(found, wanted.flatten(1).to(torch.uint8))
    plain = Grid().rounded(weight)
    assert not torch.allclose(plain, weight, atol=1e-5), "plain rounding would have found the same: this shows nothing"


def test_gptq_loses_less_than_plain_rounding(made):
    base, quantized = made
    exact, gptq = float_model(base), float_model(quantized)
    plain = copy.deepcopy(exact)
    for name, module in plain.named_modules():
        if isinstance(module, torch.nn.Linear) and "layers" in name:
            module.weight.data = Grid().rounded(module.weight.data)
    ids = torch.tensor(tiny_tokenizer()([letters(seed) for seed in range(1000, 1012)])["input_ids"])
    with torch.no_grad():
        wanted = exact(ids).logits
        errors = [(model(ids).logits - wanted).pow(2).mean() for model in (gptq, plain)]
    assert errors[0] < errors[1]


def test_parts_that_keep_more_bits_are_not_rounded(tmp_path):
    base = save(tiny_llama(), tmp_path / "model")
    quantized = rounded(tmp_path, base, keep=["down_proj", "first_layer"])
    before, after = float_model(base).model.layers, float_model(quantized).model.layers
    assert torch.equal(before[1].mlp.down_proj.weight, after[1].mlp.down_proj.weight)
    assert torch.equal(before[0].self_attn.q_proj.weight, after[0].self_attn.q_proj.weight)
    assert not torch.equal(before[1].self_attn.q_proj.weight, after[1].self_attn.q_proj.weight)


def test_weights_that_left_the_grid_are_refused_by_name(made, tmp_path):
    _, quantized = made
    model = float_model(quantized)
    model.model.layers[0].mlp.down_proj.weight.data *= 1.07
    moved = save(model, tmp_path / "moved")
    for name in ("grid.json", "grid.npz"):
        (moved / name).write_bytes((quantized / name).read_bytes())
    with pytest.raises((StepError, ValueError), match="layers.0/mlp/down_proj"):
        export(read_step(step_file(tmp_path / "export", "export", {}, {"model": moved})))
