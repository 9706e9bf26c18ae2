"""Every known type of decoder, from float weights to an int4 graph that takes adapters: folded, rounded, exported, run."""

import json

import numpy as np
import onnxruntime_genai as genai
import pytest
import torch
from decoder_types import KNOWN_MODEL_TYPES, LINEAR_LAYERS, UnknownDecoder, check_known
from passes.decoder_shapes import folds_of
from passes.grid import Grid
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from step_adapter import convert
from step_export import export
from step_io import StepError, read_step
from step_quantize import quantize
from tiny_models import TINY, save, step_file
from transformers import AutoModelForCausalLM

IDS = np.array([5, 80, 33, 200, 41, 7, 90, 121], dtype=np.int32)
OPTIONS = {"algorithm": "awq", "calibration_samples": 16, "sequence_length": 32}

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


def quantized(tmp_path, model, **options):
    """The folder that the step makes of a model."""
    base = save(model, tmp_path / "model")
    ids = torch.randint(0, 26, (900,), generator=torch.Generator().manual_seed(1))
    text = "".join(chr(97 + number) for number in ids)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": text}))
    inputs = {"model": base, "calibration": tmp_path / "rows.jsonl"}
    quantize(read_step(step_file(tmp_path / "quantize", "quantize", {**OPTIONS, **options}, inputs)))
    return tmp_path / "quantize" / "out"


def logits(folder, adapter=None):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    return model.eval()(torch.tensor(IDS[None].astype(np.int64))).logits[0].numpy()


def graph_logits(folder, adapter=None):
    model = genai.Model(str(folder))
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=32)
    generator, adapters = genai.Generator(model, params), genai.Adapters(model)
    if adapter:
        adapters.load(str(adapter), "one")
        generator.set_active_adapter(adapters, "one")
    generator.append_tokens(IDS)
    return np.asarray(generator.get_output("logits"))[0]


def distance(one, other):
    return ((one - other) ** 2).mean() / (other**2).mean()


def test_each_known_type_has_its_linear_layers_listed_as_they_are():
    assert set(TINY) == set(KNOWN_MODEL_TYPES)
    for model_type, make in TINY.items():
        layer = make().model.layers[0]
        found = {name.rpartition(".")[2] for name, module in layer.named_modules() if isinstance(module, torch.nn.Linear)}
        assert found == set(LINEAR_LAYERS[model_type])


@pytest.mark.parametrize("model_type", TINY)
def test_folding_alone_changes_nothing(model_type):
    model = TINY[model_type]()
    ids = torch.arange(2, 66).view(2, 32)
    before = model(ids).logits
    for layer in model.model.layers:
        for fold in folds_of(layer, model.config):
            inputs = fold.readers[0].weight.shape[1]
            scales = torch.exp(torch.randn(inputs, generator=torch.Generator().manual_seed(inputs)))
            fold.apply(fold.shared(scales))
    assert torch.allclose(model(ids).logits, before, atol=5e-4)


@pytest.mark.parametrize("model_type", TINY)
def test_the_whole_chain_ends_in_a_graph_that_says_what_the_rounded_model_says(model_type, tmp_path):
    rounded = quantized(tmp_path, TINY[model_type]())
    assert 0 < distance(logits(rounded), logits(tmp_path / "model")) < 0.3
    targets = list(LINEAR_LAYERS[model_type])
    export(read_step(step_file(tmp_path / "export", "export", {"precision": "int4", "targets": targets}, {"model": rounded})))
    graph = tmp_path / "export" / "out"
    assert distance(graph_logits(graph), logits(rounded)) < 0.02
    torch.manual_seed(6)
    model = AutoModelForCausalLM.from_pretrained(rounded, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    for name, weight in tuned.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn_like(weight) * 0.2
    tuned.save_pretrained(tmp_path / "peft")
    convert(read_step(step_file(tmp_path / "one", "adapter", {"name": "one"}, {"graph": graph, "adapter": tmp_path / "peft"})))
    wanted = logits(rounded, tmp_path / "peft")
    assert distance(wanted, logits(rounded)) > 0.05
    assert distance(graph_logits(graph, tmp_path / "one/out/one.onnx_adapter"), wanted) < 0.03


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("model_type", ["llama", "phi3"], ids=["tied", "untied"])
def test_the_weights_keep_their_type_and_what_is_not_rounded_keeps_every_bit(model_type, dtype, tmp_path):
    made = quantized(tmp_path, TINY[model_type]().to(dtype))
    with safe_open(tmp_path / "model/model.safetensors", "pt") as before, safe_open(made / "model.safetensors", "pt") as after:
        assert set(before.keys()) == set(after.keys())
        for name in before.keys():  # noqa: SIM118  (it is no dictionary)
            assert after.get_tensor(name).dtype == dtype
            if "layers" not in name:
                assert torch.equal(after.get_tensor(name), before.get_tensor(name))
        weight = after.get_tensor("model.layers.1.mlp.down_proj.weight").float()
    steps = (Grid().rounded(weight) - weight).abs().max() / weight.abs().max()
    assert steps < {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]


@pytest.mark.parametrize("algorithm", ["awq", "rtn"])
def test_a_model_in_several_files_comes_out_in_the_same_files(algorithm, tmp_path):
    model = TINY["phi3"]()
    in_one = quantized(tmp_path, model, algorithm=algorithm)
    (tmp_path / "model" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "model", max_shard_size="200KB")
    shards = sorted(file.name for file in (tmp_path / "model").glob("model*.safetensors"))
    inputs = {"model": tmp_path / "model", "calibration": tmp_path / "rows.jsonl"}
    quantize(read_step(step_file(tmp_path / "again", "quantize", {**OPTIONS, "algorithm": algorithm}, inputs)))
    in_several = tmp_path / "again" / "out"
    assert len(shards) > 1 and shards == sorted(file.name for file in in_several.glob("model*.safetensors"))
    assert np.array_equal(logits(in_several), logits(in_one))


@pytest.mark.parametrize("config", [{"model_type": "gpt2"}, {"model_type": "llama", "hidden_act": "gelu"}], ids=str)
def test_other_architectures_are_refused_with_the_known_ones_named(config, tmp_path):
    with pytest.raises(UnknownDecoder, match=r"(gpt2.*llama, mistral, phi3, qwen2, qwen3|gelu.*silu)"):
        check_known(config)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    asked = step_file(tmp_path / "step", "quantize", {"algorithm": "awq"}, {"model": tmp_path / "model"})
    with pytest.raises(StepError, match="No folding rules") as raised:
        quantize(read_step(asked))
    assert 'algorithm = "none"' in raised.value.hint
