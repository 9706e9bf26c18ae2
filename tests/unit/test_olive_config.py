"""The Olive configuration shown beside a recipe is the one that the real steps hand to Olive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.core.device import Device
from toolkit.core.olive_config import OWN_PASSES, UNKNOWN, as_text, fastest_dtype, olive_configs
from toolkit.core.plan import build_steps
from toolkit.core.recipe import Recipe, parse

ROOT = Path(__file__).resolve().parents[2]
STUBS = Path(__file__).with_name("stub_olive")
LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}  # fmt: skip
PHI = {"model_type": "phi3", "hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4}
ODD = {**LLAMA, "hidden_size": 96, "head_dim": 24, "tie_word_embeddings": False}
CPU = Device("cpu", "linux/amd64", "cpu", "int4", 2048, 2.0, 512, 200)
CUDA = Device("jetson", "linux/arm64", "cuda12", "int4", 8192, 4.0, 2048, 4000)

BASE = """
name = "x"
[model]
source = "./model"
[data]
text_template = "{prompt}{response}"
[[adapters]]
name = "one"
train = "one.jsonl"
[[adapters]]
name = "two"
train = "two.jsonl"
finetune = { rank = 4, epochs = 1.5, targets = ["q_proj", "o_proj"] }
"""
RECIPES = {
    "as it comes": "",
    "plain rounding": "[quantize]\nalgorithm = 'rtn'\ngroup_size = 64\n[export]\nlm_head = 'int4'\n",
    "no rounding": "[quantize]\nalgorithm = 'none'\n",
    "gptq": "[quantize]\nalgorithm = 'gptq'\ngroup_size = 128\n",
    "parts with more bits": "[export]\nlm_head = 'float'\nint8 = ['down_proj', 'last_layer']\nkeep = ['v_proj']\n",
    "symmetric": "[quantize]\nsymmetric = true\ngroup_size = 16\n",
    "merged adapters": "[export]\nadapters = 'merged'\n",
    "merged adapters beside parts with more bits": "[export]\nadapters = 'merged'\nkeep = ['v_proj']\nint8 = ['down_proj']\n",
    "merged adapters without rounding": "[export]\nadapters = 'merged'\nprecision = 'fp32'\n",
    "int8": "[export]\nprecision = 'int8'\ncontext_length = 100\n",
    "fp32": "[export]\nprecision = 'fp32'\n",
    "every option of training": "[finetune]\nrank = 3\nalpha = 5.0\ndropout = 0.25\nlearning_rate = 0.01\nscheduler = 'linear'\n"
    "warmup_ratio = 0.1\nepochs = 2.0\nmax_steps = 7\nbatch_size = 2\ngradient_accumulation = 3\nseed = 9\ndtype = 'bfloat16'\nmicro_batch = 1\nrows = 'packed'\n"
    "patience = 2\nevaluate_every = 5\n",
}
RUN_STEP = "import importlib, sys, pathlib, step_io; kind = sys.argv[1]; \
getattr(importlib.import_module(f'step_{kind}'), kind)(step_io.read_step(pathlib.Path(sys.argv[2])))"


def recipe(more: str) -> Recipe:
    tables = [part for part in more.split("[") if part]
    return parse(BASE + "".join(f"[{part}" for part in tables), Path("/r/r.toml"))


def asked_of_olive(step: dict, folder: Path, model_config: dict, is_on_grid: bool) -> dict | None:
    """What the real step hands to Olive; None where it calls it not at all."""
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(model_config))
    if is_on_grid and step["kind"] == "export":
        (model / "grid.json").write_text("{}")
    rows = folder / "rows.jsonl"
    rows.write_text("{}\n")
    (folder / "out").mkdir()
    inputs = {name: str(model if name == "model" else rows) for name in step["inputs"]}
    (folder / "step.json").write_text(json.dumps({**step, "run": str(folder), "out": str(folder / "out"), "inputs": inputs}))
    environ = {**os.environ, "PYTHONPATH": f"{STUBS}:{ROOT / 'containers' / 'build'}", "CAUGHT": str(folder / "caught.json")}
    command = [sys.executable, "-c", RUN_STEP, step["kind"], str(folder / "step.json")]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True)
    if not (folder / "caught.json").exists():
        assert ended.returncode == 0, ended.stderr
        return None
    return json.loads((folder / "caught.json").read_text())


def without_places(config: dict) -> dict:
    """The configuration without folders and rows, which differ from run to run."""
    kept = {key: value for key, value in config.items() if key not in ("output_dir", "cache_dir")}
    kept["input_model"] = {**config["input_model"], "model_path": ""}
    kept["data_configs"] = [{**data, "load_dataset_config": data["load_dataset_config"]["type"]} for data in config["data_configs"]]
    if "merge" in kept["passes"]:
        kept["passes"] = {"merge": {**kept["passes"]["merge"], "adapter": ""}}
    if "lora" in kept["passes"]:
        kept["passes"] = {"lora": {**kept["passes"]["lora"], "scratch": ""}}
    return kept


CASES = [(name, device) for name in RECIPES for device in (CPU, CUDA) if (name, device) != ("int8", CUDA)]  # int8 is for the CPU


@pytest.mark.parametrize(("name", "device"), CASES, ids=[f"{name} on {device.name}" for name, device in CASES])
@pytest.mark.parametrize("model_config", [LLAMA, PHI, ODD], ids=["llama", "phi3", "odd sizes"])
def test_the_steps_hand_exactly_this_to_olive(name, model_config, device, tmp_path):
    chosen = recipe(RECIPES[name])
    steps = build_steps(chosen, [device], Path("/m"), Path("data"))
    ours = olive_configs(steps, model_config, auto_dtype="float32")
    asking = [step for step in steps if step["kind"] in ("quantize", "finetune", "merge", "export") and step["name"] != "finetune-one"]
    for step in asking:
        asked = asked_of_olive(step, tmp_path / step["name"], model_config, chosen.quantize.algorithm != "none")
        shown = ours.get(step["name"])
        assert asked or chosen.quantize.algorithm == "none", "the step did not come so far"
        assert (shown and without_places(shown)) == (asked and without_places(asked)), step["name"]


def test_only_steps_that_run_olive_have_a_configuration():
    steps = build_steps(recipe(""), [CPU], Path("/m"), Path("data"))
    assert list(olive_configs(steps, LLAMA)) == ["quantize", "finetune-one", "finetune-two", "export-cpu"]


def test_our_own_passes_are_those_that_the_build_image_brings():
    text = (ROOT / "containers" / "build" / "olive_run.py").read_text()
    assert all(f'"{name}": "passes.' in text for name in OWN_PASSES)
    assert text.count('": "passes.') == len(OWN_PASSES)


def test_what_depends_on_a_model_that_is_not_here_yet_says_so():
    steps = build_steps(recipe(""), [CPU], Path("/m"), Path("data"))
    found = olive_configs(steps, None)
    assert found["finetune-one"]["passes"]["lora"]["target_modules"] == UNKNOWN
    assert found["export-cpu"]["passes"]["adapters"]["layout"] == UNKNOWN
    assert found["finetune-two"]["passes"]["lora"]["target_modules"] == ["q_proj", "o_proj"]


def test_the_text_is_the_configuration_as_json():
    steps = build_steps(recipe(""), [CPU], Path("/m"), Path("data"))
    found = olive_configs(steps, LLAMA)
    assert json.loads(as_text(found)) == found
    assert max(map(len, as_text(found).splitlines())) < 120


@pytest.mark.parametrize(("flags", "dtype"), [("fma avx512_bf16 sse", "bfloat16"), ("fma avx2", "float32")])
def test_the_number_format_of_training_is_read_off_the_processor(tmp_path, flags, dtype):
    (tmp_path / "cpuinfo").write_text(f"processor: 0\nflags\t\t: {flags}\n")
    assert fastest_dtype(tmp_path / "cpuinfo") == dtype
