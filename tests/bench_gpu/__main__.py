"""Everything that is measured on a GPU, one part after the other, as a table: `make bench-gpu`, or

    PYTHON_OF_A_CUDA_ENVIRONMENT -m tests.bench_gpu WORK [--layers 32]

Needs the packages of a CUDA build environment (`make build-env FLAVOUR=cuda13`), and pydantic for the plan. AutoAWQ is set beside
ours where it is installed (autoawq 0.2.9, `--no-deps`), on four layers, for its time a layer does not change.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

FAST = ["quantize.group_size=128", "quantize.symmetric=true", 'export.lm_head="int4"']
"""What decodes fastest on CUDA."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--device", default="gpu-cuda13")
    asked = parser.parse_args()
    work, layers = asked.work, str(asked.layers)
    told("AWQ, group 32, 128 x 512 tokens", "awq_shape", str(work), "--layers", layers)
    if importlib.util.find_spec("awq"):
        told("AutoAWQ, 4 layers", "autoawq_shape", str(work / "four"), "--layers", "4")
        told("AWQ, the same 4 layers", "awq_shape", str(work / "four"), "--layers", "4")
    told("LoRA r 64 on the attention, 100 x 1024 tokens", "finetune_shape", str(work / "model"), "--targets", "attention")
    changes = [word for change in FAST for word in ("--set", change)]
    told("The whole chain, two adapters", "chain", str(work), "--model", str(work / "model"), "--device", asked.device, *changes)
    steps = work / "run" / "steps"
    adapters = [["--adapter", str(file)] for file in sorted(steps.glob(f"adapter-{asked.device}-*/out/*.onnx_adapter"))]
    told("Decode", "decode", str(steps / f"export-{asked.device}" / "out"), *sum(adapters, []))
    told("Branches by themselves", "lora_ops")
    return 0


def told(title: str, module: str, *arguments: str) -> None:
    """Run one part in a process of its own and print what it measured.

    Raises:
        subprocess.CalledProcessError: it failed; its output stands above.
    """
    command = [sys.executable, "-m", f"tests.bench_gpu.{module}", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in output.splitlines():
        if line.startswith("{"):
            print(f"{title}: {json.dumps(json.loads(line))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
