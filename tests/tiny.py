"""A tiny model, its data and its recipe: everything real but the size, so that the main job takes a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.services.fixtures import missing
from toolkit import settings as settings_module
from toolkit.core.workbench import Workbench
from toolkit.wiring import make_workbench

ROOT = Path(__file__).resolve().parents[1]
BUILD_PYTHON = Path(os.environ.get("EDGE_BUILD_PYTHON", ROOT / ".venv-build" / "bin" / "python"))

RECIPE = """
name = "tiny"
[model]
source = "./model"
[data]
text_template = "<user>{prompt}<end><assistant>{response}<end>"
max_tokens = 200
[quantize]
calibration_samples = 8
sequence_length = 64
[finetune]
rank = 4
max_steps = 3
batch_size = 4
[[adapters]]
name = "one"
train = "one.jsonl"
held_out = 0.2
[[adapters]]
name = "two"
train = "two.jsonl"
held_out = 0.2
[evaluate]
perplexity_rows = 4
fact_rows = 2
max_new_tokens = 4
"""


def write_tiny_project(folder: Path) -> Path:
    """A folder with model, data and recipe; returns the recipe."""
    if not BUILD_PYTHON.exists():
        missing("The build environment", "make build-env")
    folder.mkdir(parents=True, exist_ok=True)
    code = "import sys; from pathlib import Path; from tiny_models import save, tiny_llama; save(tiny_llama(), Path(sys.argv[1]))"
    quiet = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "containers" / "build"), "HF_HUB_OFFLINE": "1"}
    subprocess.run([str(BUILD_PYTHON), "-c", code, str(folder / "model")], check=True, env=quiet, capture_output=True)
    for name in ("one", "two"):
        write_rows(folder / f"{name}.jsonl", name)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


def write_rows(path: Path, word: str) -> None:
    rows = [{"prompt": f"What is number {n}?", "response": f"{word} {n}.", "fact": word} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def local_bench(home: Path) -> Workbench:
    return make_workbench(replace(settings_module.load({}), home=home, engine="local", build_python=BUILD_PYTHON))


def docker_bench(home: Path, base: str) -> Workbench:
    return make_workbench(replace(settings_module.load({}), home=home, engine="docker", base_image=base))


def edge(*arguments: str, home: Path, engine: str = "local", **more: str) -> subprocess.CompletedProcess:
    """Run `edge` as a person would, with a home of its own."""
    environ = {**os.environ, "EDGE_HOME": str(home), "EDGE_ENGINE": engine, "EDGE_BUILD_PYTHON": str(BUILD_PYTHON), **more}
    return subprocess.run([sys.executable, "-m", "toolkit", *arguments], capture_output=True, text=True, env=environ, cwd=ROOT)
