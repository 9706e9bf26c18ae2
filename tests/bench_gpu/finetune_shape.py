"""Fine-tuning at Phi-3.5-mini's shape, random weights: seconds in training and of the whole process, as one JSON line.

    python tests/bench_gpu/finetune_shape.py MODEL_FOLDER [--through core|olive] [--processes N] [--gpu-gib G] [...]

`core` trains without Olive, in a process of its own as the step does; `olive` runs the very step, which needs olive-ai.
The model is made in MODEL_FOLDER where it is not there yet; that time is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "containers" / "build"
TARGETS = {"all": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], "attention": ["qkv_proj", "o_proj"]}
CORE = """
import sys, torch
from pathlib import Path
from passes.training_job import Job
from passes.training_loop import train
from passes.training_processes import alone, run_together, wanted_processes
job, limit = Job.load(Path(sys.argv[1])), float(sys.argv[2])
if limit:
    torch.cuda.set_per_process_memory_fraction(limit * 2**30 / torch.cuda.get_device_properties(0).total_memory)
count = wanted_processes(job)
run_together(job, count) if count > 1 else train(job, alone())
"""


def main() -> None:
    asked = arguments()
    sys.path[:0] = [str(BUILD), str(ROOT), str(ROOT / "tests" / "containers" / "build")]
    from tests.bench_gpu.shapes import phi35

    model = asked.model if (asked.model / "model.safetensors").exists() else phi35(asked.model, asked.layers)
    with tempfile.TemporaryDirectory(prefix="finetune-shape-") as made:
        folder = Path(made)
        command = of_core(asked, model, folder) if asked.through == "core" else of_step(asked, model, folder)
        began = time.monotonic()
        ended = subprocess.run(command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.monotonic() - began
        if ended.returncode:
            sys.exit(ended.stdout[-6000:])
        print(json.dumps(result(asked, folder, seconds)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--through", choices=("core", "olive"), default="core")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--targets", choices=TARGETS, default="all")
    parser.add_argument("--rows", choices=("separate", "packed"), default="separate")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--processes", type=int, default=0, help="0: one for each GPU")
    parser.add_argument("--gpu-gib", type=float, default=0.0, help="as if the GPU had no more memory than this")
    return parser.parse_args()


def options(asked: argparse.Namespace) -> dict:
    return {
        "rank": asked.rank, "alpha": 2.0 * asked.rank, "targets": TARGETS[asked.targets], "max_steps": asked.steps,
        "batch_size": asked.batch, "rows": asked.rows, "dtype": asked.dtype, "seed": 1,
    }  # fmt: skip


def of_core(asked: argparse.Namespace, model: Path, folder: Path) -> list[str]:
    from passes.training_job import Job, Place, Training
    from rows import Tokens

    rows = [Tokens([3 + (7 * row + 13 * place) % 32000 for place in range(asked.tokens)], 1) for row in range(4 * asked.batch)]
    place = Place(run=str(folder), step="finetune", key="", scratch=str(folder), processes=asked.processes)
    Job(str(model), Training.from_options(options(asked)), rows, place, []).save(folder / "asked.json")
    return [sys.executable, "-c", CORE, str(folder / "asked.json"), str(asked.gpu_gib)]


def of_step(asked: argparse.Namespace, model: Path, folder: Path) -> list[str]:
    from tiny_models import step_file

    from tests.bench_gpu.shapes import byte_tokenizer

    byte_tokenizer(model)
    lines = [json.dumps({"prompt": "q", "response": chr(97 + row % 26) * (asked.tokens - 1)}) for row in range(4 * asked.batch)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    everything = {**options(asked), "max_tokens": asked.tokens, "text_template": "{prompt}{response}", "processes": asked.processes}
    file = step_file(folder / "step", "finetune", everything, {"model": model, "train": folder / "train.jsonl"})
    return [sys.executable, str(BUILD / "step_finetune.py"), str(file)]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(BUILD), "HOME": str(home), "HF_HUB_OFFLINE": "1", "OLIVE_DISABLE_TELEMETRY": "1", "CI": "1"}


def result(asked: argparse.Namespace, folder: Path, seconds: float) -> dict:
    """What was measured, with what was asked."""
    file = folder / "summary.json" if asked.through == "core" else folder / "step" / "out" / "metrics.json"
    measured = json.loads(file.read_text())
    return {
        "asked": {"through": asked.through, **options(asked), "tokens": asked.tokens, "layers": asked.layers, "gpu_gib": asked.gpu_gib},
        "whole_seconds": round(seconds, 2),
        **{name.removeprefix("train."): round(value, 4) for name, value in measured.items()},
        "peak_memory_gib": round(measured["train.peak_memory"] / 2**30, 2),
    }


if __name__ == "__main__":
    main()
