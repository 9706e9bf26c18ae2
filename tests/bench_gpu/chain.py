"""The whole chain by the real build program, timed step by step: quantize, fine-tune, export, adapters.

    python -m tests.bench_gpu.chain WORK [--model FOLDER] [--layers 32] [--device gpu-cuda13] [--set quantize.group_size=128 ...]

Without `--model` it is a random model of Phi-3.5-mini's shape, with data that costs what the lab's costs: AWQ on 128 x 512
tokens, LoRA of rank 64 on the attention's projections, 100 steps of one row of 1,024 tokens, two adapters. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.bench_gpu import shapes
from toolkit.core import device, plan, recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
name = "bench"
[model]
source = "{model}"
[data]
text_template = "{{prompt}}{{response}}"
train_on = "text"
max_tokens = 1100
[quantize]
algorithm = "awq"
group_size = 32
calibration_samples = 128
sequence_length = 512
[finetune]
rank = 64
alpha = 64.0
targets = ["qkv_proj", "o_proj"]
learning_rate = 1e-4
max_steps = 100
batch_size = 1
[export]
[[adapters]]
name = "first"
train = "{data}/first.train.jsonl"
held_out = "{data}/first.held_out.jsonl"
[[adapters]]
name = "second"
train = "{data}/second.train.jsonl"
held_out = "{data}/second.held_out.jsonl"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--device", default="gpu-cuda13")
    parser.add_argument("--set", action="append", default=[], help="table.key=value, over the recipe's")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    model = asked.model or shapes.byte_tokenizer(shapes.phi35(asked.work / "model", asked.layers))
    run = prepare(asked.work, model, asked.device, asked.set)
    began = time.monotonic()
    code = subprocess.run([sys.executable, str(ROOT / "containers/build/run_steps.py"), str(run)]).returncode
    print(json.dumps({"exit_code": code, "seconds": round(time.monotonic() - began, 1), **told(run)}), flush=True)
    return code


def prepare(work: Path, model: Path, device_name: str, changes: list[str]) -> Path:
    """A run folder that the build program can take, with the steps that the toolkit itself would plan; no evaluation."""
    data = work / "data"
    data.mkdir(exist_ok=True)
    for name in ("first", "second"):
        write_rows(data / f"{name}.train.jsonl", 100, name)
        write_rows(data / f"{name}.held_out.jsonl", 4, name)
    write_rows(data / "calibration.jsonl", 80, "calibration")
    text = RECIPE.format(model=model.resolve(), data=data.resolve())
    for change in changes:
        text = changed(text, *change.split("=", 1))
    wanted = recipe.parse(text, work / "recipe.toml")
    devices = [device.find(ROOT / "data/devices", device_name)]
    steps = [step for step in plan.build_steps(wanted, devices, model.resolve(), data.resolve()) if step["kind"] != "evaluate"]
    run = work / "run"
    run.mkdir()
    request = {"format": 1, "id": "0001-build-bench", "cache": str((work / "cache").resolve()), "steps": steps}
    (run / "request.json").write_text(json.dumps(request), encoding="utf-8")
    return run


def changed(text: str, place: str, value: str) -> str:
    """The recipe with `table.key = value`, in place of what it says there."""
    table, key = place.split(".")
    lines = text.split("\n")
    start = lines.index(f"[{table}]")
    end = next((number for number in range(start + 1, len(lines)) if lines[number].startswith("[")), len(lines))
    kept = [line for line in lines[start + 1 : end] if not line.startswith(f"{key} =")]
    return "\n".join([*lines[: start + 1], f"{key} = {value}", *kept, *lines[end:]])


def write_rows(path: Path, count: int, seed: str) -> None:
    """Rows of 1,024 letters together."""
    dice = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz      "
    rows = [{"prompt": _text(dice, letters, 512), "response": _text(dice, letters, 512)} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _text(dice: random.Random, letters: str, length: int) -> str:
    return "".join(dice.choices(letters, k=length))


def told(run: Path) -> dict:
    """Seconds and measurements of each step, and what went wrong."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    ended = [event for event in events if event.get("type") in ("StepFinished", "StepFailed")]
    steps = {event["step"]: {"seconds": event.get("seconds"), **event.get("metrics", {})} for event in ended}
    failed = [event for event in ended if event["type"] == "StepFailed"]
    return {"steps": steps, **({"error": failed[0]["error"], "hint": failed[0]["hint"]} if failed else {})}


if __name__ == "__main__":
    sys.exit(main())
