"""Where command-line tests sit: a home, a small project, and a build program of stub steps; `edge` is the real program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests import exported
from toolkit.core.images import SHARED
from toolkit.core.run import Run, all_runs, find_run

ROOT = Path(__file__).resolve().parents[2]
NO_ENGINE = "unix:///nonexistent/docker.sock"
KINDS = ("quantize", "finetune", "export", "adapter", "evaluate", "weigh")
STUB_LIBRARY = ROOT / "tests" / "containers" / "runtime" / "stub"

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 4, "num_hidden_layers": 2, "vocab_size": 6, "max_position_embeddings": 128}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "Q:": 1, "A:": 2}, "unk_token": "[UNK]"},
}
RECIPE = """\
name = "small"
devices = ["cpu"]

[model]
source = "./model"

[data]
text_template = "Q: {prompt} A: {response}"

[[adapters]]
name = "travel"
train = ["train.jsonl"]
held_out = 0.25
"""


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition, never for a time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@dataclass(frozen=True)
class Desk:
    """A person at work: where things are, and `edge` as they would call it."""

    folder: Path
    program: Path
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def recipe(self) -> Path:
        return self.project / "recipe.toml"

    @property
    def gate(self) -> Path:
        """A step that waits goes on once this file is there."""
        return self.folder / "gate"

    def script(self, **of_kind: dict) -> None:
        """What the steps do from now on, by kind."""
        (self.program / "build" / "script.json").write_text(json.dumps(of_kind))

    def environ(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("EDGE_", "HF_"))}
        ours = {
            "EDGE_HOME": str(self.home),
            "EDGE_ENGINE": "local",
            "EDGE_CONTAINERS": str(self.program),
            "EDGE_BUILD_PYTHON": sys.executable,
            "DOCKER_HOST": NO_ENGINE,
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PYTHONPATH": str(STUB_LIBRARY),
            "STUB_ALIVE": str(self.folder / "alive"),
        }
        return {**kept, **ours, **more}

    def edge(self, *arguments: object, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments), input=stdin, capture_output=True, text=True, env=self.environ(**more), cwd=ROOT, timeout=120
        )

    def start(self, *arguments: object, **more: str) -> subprocess.Popen[str]:
        """Start `edge` and go on; its output is piped."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.started.append(subprocess.Popen(self.argv(*arguments), text=True, env=self.environ(**more), cwd=ROOT, **pipes))
        return self.started[-1]

    def argv(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "toolkit", *map(str, arguments)]

    def run(self, wanted: str = "last") -> Run:
        return find_run(self.home / "runs", wanted)

    def runs(self) -> list[Run]:
        return all_runs(self.home / "runs")

    def run_until_it_waits(self, kind: str = "finetune", step: str = "finetune-travel") -> Run:
        """A run whose step is under way until the gate opens."""
        self.script(**{kind: {"progress": 3, "wait_for": str(self.gate)}})
        done = self.edge("run", self.recipe, "--detach")
        assert done.returncode == 0, done.stderr
        run = self.run(done.stdout.strip())
        until(lambda: (run.folder / f"{step}.pid").exists())
        return run

    def leave(self) -> None:
        """End what is still going on."""
        self.gate.touch()
        for process in self.started:
            process.kill()
            process.wait()
        for run in self.runs():
            until(lambda run=run: not run.is_locked())


def make_program(folder: Path) -> Path:
    """A `containers` folder: the real build program and server, with stub steps."""
    containers = folder / "containers"
    build = containers / "build"
    build.mkdir(parents=True)
    for path in sorted((ROOT / "containers" / "build").glob("*.py")):
        if not path.name.startswith("step_") or path.name in ("step_io.py", "step_key.py"):
            shutil.copyfile(path, build / path.name)
    for shared in SHARED:
        shutil.copyfile(ROOT / "toolkit" / "core" / shared, build / shared)
    shutil.copytree(ROOT / "containers" / "runtime", containers / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    for kind in KINDS:
        shutil.copyfile(Path(__file__).with_name("stub_step.py"), build / f"step_{kind}.py")
    (build / "script.json").write_text("{}")
    exported.pair(build / "exported")
    return containers


def write_project(folder: Path) -> None:
    """A recipe, its data, and a model whose weights are zeros."""
    write_model(folder / "model")
    write_rows(folder / "train.jsonl", *({"prompt": f"Question {n}", "response": f"Answer {n}"} for n in range(8)))
    (folder / "recipe.toml").write_text(RECIPE)


def write_model(folder: Path, parameters: int = 24, **config: object) -> Path:
    """A model folder; a large one is a hole in the disk, not bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    header = json.dumps(
        {"model.embed_tokens.weight": {"dtype": "F16", "shape": [parameters // 4, 4], "data_offsets": [0, 2 * parameters]}}
    ).encode()
    with open(folder / "model.safetensors", "wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
        out.truncate(8 + len(header) + 2 * parameters)
    return folder


def write_rows(path: Path, *rows: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path
