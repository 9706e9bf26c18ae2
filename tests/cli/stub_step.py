"""A step that leaves what its kind must leave, and does what script.json beside it says of its kind."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from shared import events
from step_io import Step, StepError, main

EXPORTED = Path(__file__).with_name("exported")
"""A graph, and an adapter that fits it."""
LEAVES = {
    "quantize": ("config.json", "model.safetensors", "tokenizer.json"),
    "finetune": ("adapter_config.json", "adapter_model.safetensors"),
    "export": (),
    "adapter": (),
    "evaluate": ("answers.jsonl",),
    "weigh": (),
}


def work(step: Step) -> None:
    """script.json: {kind: {progress: count, gap: seconds between, wait_for: a file, fail: a message, metrics: {name: value}}}."""
    asked = json.loads(Path(__file__).with_name("script.json").read_text()).get(step.kind, {})
    total = asked.get("progress", 2)
    for number in range(1, total + 1):
        events.append(step.run, events.StepProgress(step=step.name, done=number, total=total, unit="steps", metrics={"loss": 2 / number}))
        time.sleep(asked.get("gap", 0))
    print(f"working on {step.name}", flush=True)
    if gate := asked.get("wait_for"):
        (step.run / f"{step.name}.pid").write_text(str(os.getpid()))
        while not Path(gate).exists():
            time.sleep(0.02)
    if message := asked.get("fail"):
        raise StepError(message, "Turn them round.")
    for name in LEAVES[step.kind]:
        (step.out / name).write_text(step.name)
    if step.kind == "export":
        shutil.copyfile(EXPORTED / "model.onnx", step.out / "model.onnx")
        (step.out / "genai_config.json").write_text(json.dumps({"model": {"context_length": 200, "eos_token_id": [0]}}))
    if step.kind == "adapter":
        shutil.copyfile(EXPORTED / "adapter", step.out / f"{step.options['name']}.onnx_adapter")
    step.write_metrics(asked.get("metrics", {"base.perplexity": 3.5}))


main(work)
