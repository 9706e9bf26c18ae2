"""What a model will take in a device's memory, told before anything is built from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.core.device import find
from toolkit.core.memory_estimate import graph_bytes, memory_fits, memory_problems
from toolkit.core.modelcheck import ModelFacts, check_model, weights_of
from toolkit.core.recipe import Recipe, parse

DEVICES = Path(__file__).parents[2] / "data" / "devices"
CPU, GPU = find(DEVICES, "cpu"), find(DEVICES, "gpu-cuda12")
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
}
BLOCK = {
    "self_attn.q_proj": (576, 576),
    "self_attn.k_proj": (192, 576),
    "self_attn.v_proj": (192, 576),
    "self_attn.o_proj": (576, 576),
    "mlp.gate_proj": (1536, 576),
    "mlp.up_proj": (1536, 576),
    "mlp.down_proj": (576, 1536),
}
GRAPH, ADAPTERS = 102_987_008 + 353_713, 2 * 23_251_960
"""Bytes of what the sample recipe makes for a CPU: int4 in groups of 32, the head in int8; two adapters of rank 16."""


@pytest.fixture
def facts(tmp_path: Path) -> ModelFacts:
    """A model folder of the sample model's shape; its weights are a hole."""
    shapes = {"model.embed_tokens.weight": (49152, 576), "model.norm.weight": (576,)}
    for layer in range(30):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in BLOCK.items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    return check_model(tmp_path)


def recipe(more: str = "") -> Recipe:
    adapters = "".join(f"[[adapters]]\nname = '{name}'\ntrain = ['{name}.jsonl']\nheld_out = 0.1\n" for name in ("travel", "persona"))
    return parse(
        f"name = 'x'\ndevices = ['cpu']\n[model]\nsource = './model'\n[data]\ntext_template = '{{prompt}}{{response}}'\n{more}\n{adapters}",
        Path("r.toml"),
    )


def test_the_estimate_is_close_to_what_a_build_of_the_sample_model_makes(facts):
    (fit,) = memory_fits(facts, recipe(), [CPU])
    assert graph_bytes(facts, recipe(), CPU, weights_of(facts.folder)) == pytest.approx(GRAPH, rel=0.03)
    assert fit.length == 2048 and 0.95 * 423 <= fit.needed_mb <= 423, "423 is what its files say once they are made"
    assert fit.is_whole and not memory_problems([fit])


def test_more_bits_and_a_longer_conversation_take_more(facts):
    def needs(more: str, device=CPU) -> int:
        return memory_fits(facts, recipe(more), [device])[0].needed_mb

    plain = needs("")
    assert needs("[export]\ncontext_length = 8192") - plain == pytest.approx(6144 * 46080 / 2**20, abs=1)
    assert plain < needs("[export]\nint8 = ['down_proj']") < needs("[export]\nint8 = ['down_proj', 'last_layer']")
    assert needs("[export]\nint8 = ['down_proj']") < needs("[export]\nkeep = ['down_proj']") < needs("[export]\nprecision = 'fp32'")
    assert needs("[quantize]\ngroup_size = 16") > plain > needs("[quantize]\ngroup_size = 128\nsymmetric = true")
    assert needs("[finetune]\nrank = 64") > plain
    assert needs("", replace(CPU, adapters="merged")) < plain, "one graph of them is in memory, and no adapter beside it"


def test_a_device_that_is_too_small_is_a_problem_with_the_numbers_that_would_do(facts):
    small, less = (memory_fits(facts, recipe(), [replace(CPU, memory_mb=mb)])[0] for mb in (256, 360))
    (problem,) = memory_problems([small, less])
    assert f"2048 tokens need {small.needed_mb} MB, the device has 256 MB; memory_mb = {small.least_mb} would do" in problem.message
    assert "cpu.toml" in problem.hint
    assert less.fits, "and one that has room for a shorter conversation is none"
    assert less.taken == pytest.approx(2048 - (less.needed_mb - less.limit_mb) * 2**20 / 46080, abs=2**20 / 46080)


def test_nothing_is_said_of_a_model_that_does_not_tell_its_heads(facts):
    (facts.folder / "config.json").write_text(json.dumps({key: value for key, value in CONFIG.items() if "heads" not in key}))
    assert memory_fits(facts, recipe(), [CPU]) == ()


def test_a_gpus_own_memory_counts_where_its_device_says_it(facts):
    unsaid, said = memory_fits(facts, recipe(), [GPU, replace(GPU, gpu_memory_mb=300)])
    assert unsaid.is_whole and unsaid.length == 4096
    assert said.taken < said.length and "gpu_memory_mb" in said.sentence
