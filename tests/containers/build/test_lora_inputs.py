"""Exported tiny models: the graph says what PyTorch says, with an adapter and without, with packed projections too."""

import json

import numpy as np
import onnx
import onnxruntime_genai as genai
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft_adapter import read_branches
from step_adapter import check, convert, fitted, read_graph
from step_export import export
from step_io import StepError, read_step
from tiny_models import save, step_file, tiny_llama, tiny_phi3
from transformers import AutoModelForCausalLM

from toolkit.core import adapter_check, adapter_file

TARGETS = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
}
MODELS = {"llama": tiny_llama, "phi3": tiny_phi3}
HERE, ELSEWHERE = "linux/amd64", "linux/riscv64"
IDS = np.array([5, 80, 33, 200, 41, 7, 90, 121], dtype=np.int32)


class Bench:
    """A tiny model, exported in float32, and adapters for it."""

    def __init__(self, kind, folder, platform=HERE):
        self.kind, self.folder, self.targets = kind, folder, TARGETS[kind]
        self.base = save(MODELS[kind](), folder / "model")
        self.platform, self.adapter_type = platform, np.float16 if platform == HERE else np.float32
        self.closeness = 3e-2 if platform == HERE else 1e-3  # our operators take adapters in 16 bits
        options = {"precision": "fp32", "targets": self.targets, "platform": platform}
        asked = step_file(folder / "export", "export", options, {"model": self.base})
        export(read_step(asked))
        self.graph = folder / "export" / "out"
        self.model = genai.Model(str(self.graph))

    def peft(self, name, targets=None, rank=4):
        """An adapter with random weights, as PEFT saves it."""
        torch.manual_seed(rank)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets or self.targets, task_type="CAUSAL_LM")
        model = get_peft_model(self.load(), config)
        for weight_name, weight in model.named_parameters():
            if "lora_" in weight_name:
                weight.data = torch.randn_like(weight) * 0.2
        model.save_pretrained(self.folder / name)
        return self.folder / name

    def load(self):
        return AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)

    def convert(self, peft_folder):
        name = peft_folder.name
        inputs = {"graph": self.graph, "adapter": peft_folder}
        convert(read_step(step_file(self.folder / f"step-{name}", "adapter", {"name": name}, inputs)))
        return self.folder / f"step-{name}" / "out" / f"{name}.onnx_adapter"

    def graph_logits(self, adapter=None):
        params = genai.GeneratorParams(self.model)
        params.set_search_options(max_length=32)
        generator = genai.Generator(self.model, params)
        adapters = genai.Adapters(self.model)
        if adapter is not None:
            adapters.load(str(adapter), "one")
            generator.set_active_adapter(adapters, "one")
        generator.append_tokens(IDS)
        return np.asarray(generator.get_output("logits"))[0]

    def torch_logits(self, peft_folder=None):
        model = self.load()
        if peft_folder is not None:
            model = PeftModel.from_pretrained(model, peft_folder)
        with torch.no_grad():
            return model.eval()(torch.tensor(IDS[None].astype(np.int64))).logits[0].numpy()


@pytest.fixture(scope="module", params=[(kind, platform) for kind in MODELS for platform in (HERE, ELSEWHERE)], ids="-".join)
def bench(request, tmp_path_factory):
    """With our operators, as on this machine's kind, and without, as for a machine of another kind."""
    kind, platform = request.param
    return Bench(kind, tmp_path_factory.mktemp(kind), platform)


def test_without_an_adapter_the_graph_is_the_base(bench):
    assert np.allclose(bench.graph_logits(), bench.torch_logits(), atol=1e-4)


def test_with_an_adapter_the_graph_says_what_peft_says(bench):
    peft_folder = bench.peft("all")
    wanted = bench.torch_logits(peft_folder)
    assert np.abs(wanted - bench.torch_logits()).max() > 0.1
    assert np.allclose(bench.graph_logits(bench.convert(peft_folder)), wanted, atol=bench.closeness)


def test_one_graph_takes_adapters_of_any_rank_and_of_fewer_targets(bench):
    some = bench.targets[:1] + bench.targets[-1:]
    peft_folder = bench.peft("some", targets=some, rank=9)
    wanted = bench.torch_logits(peft_folder)
    assert np.allclose(bench.graph_logits(bench.convert(peft_folder)), wanted, atol=bench.closeness)


def test_the_weights_of_adapters_are_inputs_and_never_int4(bench):
    graph = read_graph(bench.graph / "model.onnx")
    inputs, projections = graph.inputs, graph.projections
    assert {value.dtype for value in inputs.values()} == {bench.adapter_type}
    assert all(None in value.shape for value in inputs.values())
    assert "attn.qkv_proj" in projections and "attn.q_proj" not in projections


def test_an_adapter_is_one_tensor_where_our_operators_are_and_the_host_finds_that_it_fits(bench):
    path = bench.convert(bench.peft("checked", rank=5))
    adapter_check.check(path, bench.graph / "model.onnx")
    found = adapter_file.read(path)
    if bench.platform == HERE:
        assert list(found.tensors) == ["lora.pack"]
        sizes = [(place.inputs, place.outputs) for place in read_graph(bench.graph / "model.onnx").places]
        assert [(branch.inputs, branch.outputs) for branch in found.branches] == sizes
        assert all(branch.rank in (8, 24) for branch in found.branches)  # 5, filled up to 8; three times that for q, k and v
    else:
        assert len(found.tensors) == len(read_graph(bench.graph / "model.onnx").inputs)


def test_the_export_says_whether_the_graph_runs_by_our_operators(bench):
    measured = json.loads((bench.graph / "metrics.json").read_text())
    assert measured["graph.own_operators"] == (bench.platform == HERE) == (bench.graph / "libedge_graph_ops.so").exists()


def test_an_adapter_with_a_target_the_graph_lacks_is_refused(bench, tmp_path):
    asked = step_file(tmp_path / "export", "export", {"precision": "fp32", "targets": bench.targets[:1]}, {"model": bench.base})
    export(read_step(asked))
    graph = read_graph(tmp_path / "export/out/model.onnx")
    with pytest.raises(StepError, match="block 0"):
        fitted(read_branches(bench.peft("homeless")), graph.projections, graph.inputs)


def test_a_tensor_of_another_size_is_refused_by_name(bench):
    graph = read_graph(bench.graph / "model.onnx")
    inputs, parameters = graph.inputs, fitted(read_branches(bench.peft("sized")), graph.projections, graph.inputs)
    name = "model.layers.1.mlp.down_proj.lora_A"
    with pytest.raises(StepError, match=name):
        check(parameters | {name: parameters[name][1:]}, inputs)
    with pytest.raises(StepError, match=name):
        check(parameters | {name: parameters[name].astype(np.float64)}, inputs)


def test_dora_is_refused_for_it_would_be_computed_wrongly(bench):
    folder = bench.peft("dora")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(StepError, match="use_dora"):
        read_branches(folder)


@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_quantised_graphs_share_the_embedding_and_take_the_adapter(bench, tmp_path, precision):
    options = {"precision": precision, "targets": bench.targets, "platform": bench.platform}
    asked = step_file(tmp_path / precision, "export", options, {"model": bench.base})
    export(read_step(asked))
    graph = onnx.load(tmp_path / precision / "out/model.onnx", load_external_data=False).graph
    kinds = {node.op_type for node in graph.node}
    assert "MatMulNBits" in kinds
    assert ("GatherBlockQuantized" in kinds) == (bench.kind == "llama")  # only its embeddings are tied
    peft_folder = bench.peft(f"for-{precision}")
    exact = bench.torch_logits(peft_folder)
    bench.model, float_model = genai.Model(str(tmp_path / precision / "out")), bench.model
    try:
        rounded = bench.graph_logits(bench.convert(peft_folder))
    finally:
        bench.model = float_model
    error = ((rounded - exact) ** 2).mean() / (exact**2).mean()
    assert error < {"int4": 0.25, "int8": 0.005}[precision]


def test_a_context_longer_than_the_models_own_is_refused(bench, tmp_path):
    options = {"precision": "fp32", "targets": bench.targets, "context_length": 100_000}
    with pytest.raises(StepError, match="256 tokens"):
        export(read_step(step_file(tmp_path / "long", "export", options, {"model": bench.base})))


def test_cuda_has_no_int8_here(bench, tmp_path):
    options = {"precision": "int8", "provider": "cuda", "targets": bench.targets}
    with pytest.raises(StepError, match="int8 cannot be exported for cuda"):
        export(read_step(step_file(tmp_path / "cuda", "export", options, {"model": bench.base})))
