"""What bits each projection of an exported graph has, and that the runtime computes with them what the model says."""

import json

import numpy as np
import onnx
import onnxruntime_genai as genai
import pytest
import torch
from lora_pack import METADATA_KEY, PACK_INPUT
from passes.grid import Grid
from passes.rounding import rounded
from step_export import export
from step_io import StepError, read_step
from tiny_models import save, step_file, tiny_llama, tiny_phi3
from transformers import AutoModelForCausalLM

IDS = np.array([5, 80, 33, 200, 41, 7, 90, 121], dtype=np.int32)
MODELS = {"llama": tiny_llama, "phi3": tiny_phi3}


@pytest.fixture(scope="module", params=MODELS)
def base(request, tmp_path_factory):
    return save(MODELS[request.param](), tmp_path_factory.mktemp(request.param) / "model")


def exported(folder, base, **options):
    export(read_step(step_file(folder, "export", options, {"model": base})))
    return folder / "out"


def bits(graph):
    """Projection -> its bits; 32 where it stays in floats."""
    found = {}
    for node in onnx.load(graph / "model.onnx", load_external_data=False).graph.node:
        if node.op_type in ("MatMul", "MatMulNBits") and "/lora" not in node.name:
            stated = [attribute.i for attribute in node.attribute if attribute.name == "bits"]
            found[node.name.split("/MatMul")[0].removeprefix("/").removeprefix("model/")] = stated[0] if stated else 32
    return found


def lost(graph, base):
    """How far the graph's logits are from the model's, as a share."""
    model = genai.Model(str(graph))
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=32)
    generator = genai.Generator(model, params)
    generator.append_tokens(IDS)
    said = np.asarray(generator.get_output("logits"))[0]
    with torch.no_grad():
        wanted = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)(torch.tensor(IDS[None].astype(np.int64))).logits[0].numpy()
    return ((said - wanted) ** 2).mean() / (wanted**2).mean()


def test_named_parts_keep_8_bits_or_stay_floats(base, tmp_path):
    graph = exported(tmp_path / "e", base, int8=["down_proj", "last_layer"], keep=["v_proj"])
    found = bits(graph)
    assert found["layers.0/mlp/down_proj"] == 8 and found["layers.0/mlp/up_proj"] == 4
    assert found["layers.1/mlp/up_proj"] == 8
    assert found["layers.0/attn/qkv_proj"] == found["layers.1/attn/qkv_proj"] == 32
    assert found["lm_head"] == 8
    counted = json.loads((graph / "metrics.json").read_text())
    assert counted["graph.int8_projections"] == sum(value == 8 for value in found.values())
    assert counted["graph.float_projections"] == 2


def test_adapters_have_their_branches_whatever_bits_a_projection_has(base, tmp_path):
    def branches(graph):
        model = onnx.load(graph / "model.onnx", load_external_data=False)
        assert PACK_INPUT in {value.name for value in model.graph.input}
        return next(each.value for each in model.metadata_props if each.key == METADATA_KEY)

    plain = branches(exported(tmp_path / "plain", base))
    mixed = branches(exported(tmp_path / "mixed", base, int8=["down_proj", "first_layer"], keep=["o_proj"]))
    assert "down_proj" in plain and "o_proj" in plain and mixed == plain


def test_more_bits_lose_less(base, tmp_path):
    plain = lost(exported(tmp_path / "plain", base), base)
    mixed = lost(exported(tmp_path / "mixed", base, int8=["down_proj", "qkv_proj", "o_proj"]), base)
    almost = lost(exported(tmp_path / "eight", base, precision="int8"), base)
    assert almost < mixed < plain < 0.25
    assert almost < 0.005


@pytest.mark.parametrize("head", ["int4", "int8", "float"])
def test_the_head_has_the_bits_it_was_given(base, tmp_path, head):
    graph = exported(tmp_path / head, base, lm_head=head)
    assert bits(graph)["lm_head"] == {"int4": 4, "int8": 8, "float": 32}[head]
    assert lost(graph, base) < 0.3


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_runtime_runs_every_grid_with_odd_and_half_filled_blocks_too(base, tmp_path, size, symmetric):
    graph = exported(tmp_path / "e", base, block_size=size, symmetric=symmetric)
    assert lost(graph, base) < 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_models_of_any_float_type_come_out_alike(base, tmp_path, dtype):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    other = save(model, tmp_path / "model")
    assert lost(exported(tmp_path / "e", other), base) < 0.25


@pytest.mark.parametrize("sign", [1, -1])
def test_blocks_of_one_sign_are_rounded_as_well_as_others(sign):
    weight = sign * (torch.rand(8, 64, generator=torch.Generator().manual_seed(1)) + 1)
    made = rounded(weight, Grid())
    codes = torch.tensor(np.stack([made.codes & 15, made.codes >> 4], -1)).flatten(2)
    zeros = torch.tensor(np.stack([made.zeros & 15, made.zeros >> 4], -1)).flatten(1)
    again = (codes.float() - zeros[..., None]) * torch.tensor(made.scales)[..., None]
    assert (again.flatten(1) - weight).abs().max() < 2 / 15


def test_searched_rounding_never_loses_more_than_plain_where_it_measures(base):
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(2)) ** 3
    groups = Grid().grouped(weight)
    importance = groups.abs() + groups.square().mean(-1, keepdim=True).sqrt()

    def loss(made):
        codes = torch.tensor(np.stack([made.codes & 15, made.codes >> 4], -1)).flatten(2).float()
        zeros = torch.tensor(np.stack([made.zeros & 15, made.zeros >> 4], -1)).flatten(1)
        return (((codes - zeros[..., None]) * torch.tensor(made.scales)[..., None] - groups) ** 2 * importance).sum()

    assert loss(rounded(weight, Grid(), is_searched=True)) < loss(rounded(weight, Grid()))


def test_unknown_parts_are_refused_with_those_there_are(base, tmp_path):
    with pytest.raises(StepError, match="nose_proj") as raised:
        exported(tmp_path / "e", base, int8=["nose_proj"])
    assert "down_proj" in raised.value.hint and "last_layer" in raised.value.hint


@pytest.mark.parametrize("options", [{"precision": "fp32", "keep": ["down_proj"]}, {"precision": "int8", "int8": ["down_proj"]}], ids=str)
def test_exceptions_that_would_change_nothing_are_refused(base, tmp_path, options):
    with pytest.raises(StepError, match="no parts with more bits"):
        exported(tmp_path / "e", base, **options)
