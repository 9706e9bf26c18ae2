"""Adapters folded into the model: what comes out says what the adapter said, on the grid too; and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime_genai as genai
import pytest
import torch
from base_mark import leave_mark, mark_of
from graph_files import SHARED_FILE
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from step_adapter import convert
from step_export import export
from step_io import StepError, read_step
from step_merge import merge
from step_quantize import quantize
from tiny_models import save, step_file, tiny_llama, tiny_phi3, tiny_tokenizer
from transformers import AutoModelForCausalLM

MODELS = {"llama": tiny_llama, "phi3": tiny_phi3}
TARGETS = {"llama": ["q_proj", "v_proj", "down_proj"], "phi3": ["qkv_proj", "down_proj"]}
IDS = np.array([5, 80, 33, 200, 41, 7, 90, 121], dtype=np.int32)
UNSEEN = "What is 71 and 497? It is 923, of course."
ROWS = "".join(json.dumps({"text": f"What is {n} and {n * 7}? It is {n * 13}, of course."}) + "\n" for n in range(60))


class Bench:
    """A tiny model on the grid, and an adapter trained on it so little that it moves weights by a fraction of a step."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder, self.targets, self.made = folder, TARGETS[kind], 0
        self.rows = folder / "rows.jsonl"
        self.rows.write_text(ROWS)
        save(MODELS[kind](), folder / "model")
        quantize(read_step(step_file(folder / "quantize", "quantize", {"algorithm": "rtn"}, {"model": folder / "model"})))
        self.base = folder / "quantize" / "out"
        self.adapter = self.peft("one")

    def peft(self, name: str, size: float = 0.04, rank: int = 4) -> Path:
        torch.manual_seed(rank)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=self.targets, task_type="CAUSAL_LM")
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32), config)
        for weight_name, weight in model.named_parameters():
            if "lora_" in weight_name:
                weight.data = torch.randn_like(weight) * size
        model.save_pretrained(self.folder / name)
        leave_mark(self.base, self.folder / name)
        return self.folder / name

    def new_folder(self) -> Path:
        self.made += 1
        return self.folder / str(self.made)

    def merged(self, adapter: Path | None = None, **options: object) -> Path:
        inputs = {"model": self.base, "adapter": adapter or self.adapter, "calibration": self.rows}
        place = self.new_folder()
        merge(read_step(step_file(place, "merge", {"text_template": "{text}", "sequence_length": 32, **options}, inputs)))
        return place / "out"

    def exported(self, model: Path, **options: object) -> Path:
        place = self.new_folder()
        export(read_step(step_file(place, "export", {"targets": self.targets, **options}, {"model": model})))
        return place / "out"

    def wanted(self, ids: np.ndarray = IDS) -> np.ndarray:
        model = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        return logits_of(PeftModel.from_pretrained(model, self.adapter).eval(), ids)


def said_by(graph: Path) -> np.ndarray:
    model = genai.Model(str(graph))
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=32)
    generator = genai.Generator(model, params)
    generator.append_tokens(IDS)
    return np.asarray(generator.get_output("logits"))[0]


def logits_of(model, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()


def torch_said(folder: Path, ids: np.ndarray) -> np.ndarray:
    return logits_of(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), ids)


@pytest.fixture(scope="module", params=MODELS)
def bench(request, tmp_path_factory):
    return Bench(request.param, tmp_path_factory.mktemp(request.param))


def test_without_rounding_the_graph_says_what_peft_says(bench):
    model = bench.merged(rounds=False)
    graph = bench.exported(model, precision="fp32", adapters="merged", adapter="one")
    assert np.allclose(said_by(graph), bench.wanted(), atol=1e-3)
    assert (graph / "merged-one.onnx").exists() and not (graph / "model.onnx").exists()


def test_rounding_again_keeps_the_adapter_that_plain_rounding_takes_out(bench):
    from passes.grid import Grid

    ids, grid = np.array(tiny_tokenizer()(UNSEEN)["input_ids"]), Grid()
    wanted, found = bench.wanted(ids), torch_said(bench.merged(), ids)
    plain = bench.merged(rounds=False)
    weights = load_file(plain / "model.safetensors")
    for name in [name for name in weights if any(target in name for target in bench.targets)]:
        weights[name] = grid.rounded(weights[name].float())
    save_file(weights, plain / "model.safetensors", metadata={"format": "pt"})
    error, plain_error = (((logits - wanted) ** 2).mean() for logits in (found, torch_said(plain, ids)))
    assert error < 0.8 * plain_error


def test_the_exporter_finds_exactly_the_rounded_weights(bench):
    model = bench.merged()
    exact = bench.exported(model, precision="fp32", adapters="merged", adapter="one")
    int4 = bench.exported(model, precision="int4", adapters="merged", adapter="one", lm_head="float")
    error = ((said_by(int4) - said_by(exact)) ** 2).mean() / (said_by(exact) ** 2).mean()
    assert error < 0.01  # of 8-bit activations; another grid would lose ten times as much


def test_untouched_layers_stay_and_lie_in_a_file_that_all_graphs_share(bench):
    model = bench.merged()
    before, after = load_file(bench.base / "model.safetensors"), load_file(model / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(any(target in name for target in bench.targets) for name in changed)
    base = bench.exported(bench.base, adapters="merged")
    own = bench.exported(model, adapters="merged", adapter="one")
    assert (base / SHARED_FILE).read_bytes() == (own / SHARED_FILE).read_bytes()
    assert (base / "model.onnx.data").read_bytes() != (own / "merged-one.onnx.data").read_bytes()


def test_an_adapter_of_another_base_is_refused_though_its_shapes_agree(bench):
    stranger = bench.peft("stranger")
    (stranger / "base.json").write_text(json.dumps({"mark": "f" * 32}))
    with pytest.raises(StepError, match="trained on another base model"):
        bench.merged(stranger)
    graph = bench.exported(bench.base, precision="fp32")
    with pytest.raises(StepError, match="trained on another base model"):
        convert(read_step(step_file(bench.new_folder(), "adapter", {"name": "x"}, {"graph": graph, "adapter": stranger})))


def test_the_mark_of_a_model_changes_with_its_weights(bench, tmp_path):
    weights = load_file(bench.base / "model.safetensors")
    save_file(weights, tmp_path / "model.safetensors")
    assert mark_of(tmp_path) == mark_of(bench.base)
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] += 1
    save_file(weights, tmp_path / "model.safetensors")
    assert mark_of(tmp_path) != mark_of(bench.base)


def edited(bench: Bench, name: str, change) -> Path:
    """The adapter with one of its tensors changed."""
    folder = bench.peft(name)
    weights = load_file(folder / "adapter_model.safetensors")
    key = next(key for key in weights if "layers.1.mlp.down_proj.lora_A" in key)
    weights[key] = change(weights[key])
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


BROKEN = {
    "of another model": (lambda a: torch.cat([a, a], 1), "down_proj.*256.*128|down_proj.*128.*256"),
    "of rank 0": (lambda a: a[:0], "rank 0"),
    "with NaN": (lambda a: a * float("nan"), "down_proj.lora_A.*no numbers"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_adapter_is_refused_by_the_name_of_its_tensor(bench, kind):
    change, said = BROKEN[kind]
    broken = edited(bench, kind.replace(" ", "-"), change)
    with pytest.raises(StepError, match=said):
        bench.merged(broken, rounds=False)
    graph = bench.exported(bench.base, precision="fp32")
    with pytest.raises(StepError, match=said):
        convert(read_step(step_file(bench.new_folder(), "adapter", {"name": "x"}, {"graph": graph, "adapter": broken})))


def test_one_process_runs_the_base_each_adapter_and_switches_in_the_middle_of_a_text(bench):
    graph = bench.exported(bench.base, precision="int4")
    model = genai.Model(str(graph))
    adapters = genai.Adapters(model)
    for name, rank in (("one", 4), ("two", 9)):
        folder = bench.peft(f"{name}-loud", size=0.6, rank=rank)
        place = bench.new_folder()
        convert(read_step(step_file(place, "adapter", {"name": name}, {"graph": graph, "adapter": folder})))
        adapters.load(str(place / "out" / f"{name}.onnx_adapter"), name)

    def answered_by(*names: str) -> np.ndarray:
        """After the ids went in by pieces, each with another adapter."""
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=32)
        generator = genai.Generator(model, params)
        for name, piece in zip(names, np.array_split(IDS, len(names)), strict=True):
            if name:
                generator.set_active_adapter(adapters, name)
            generator.append_tokens(piece)
        return np.asarray(generator.get_output("logits"))[0][-1]

    base, one, two = answered_by(""), answered_by("one"), answered_by("two")
    switched = answered_by("one", "two")
    for left, right in ((base, one), (base, two), (one, two), (switched, two), (switched, one)):
        assert np.abs(left - right).max() > 0.1
    assert np.array_equal(answered_by(""), base) and np.array_equal(answered_by("one"), one)
