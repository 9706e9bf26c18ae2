"""Our fold and rounding, timed at Phi-3.5-mini's shape or on a given model.

    python -m tests.bench_gpu.awq_shape WORK [--layers 32] [--model FOLDER] [--ids FILE] [--rows 128] [--length 512]

Needs PyTorch, transformers and safetensors, no Olive. `--model` is a Hugging Face folder instead of the random model (`WORK/model`, made
on the first call); `--ids` is a JSON list of sequences of one length instead of random ones. The weights go to WORK/ours. Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import torch

from tests.bench_gpu import shapes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "containers" / "build"))

from passes.awq_fold import best_device, fold_and_round
from passes.grid import Grid


def main() -> int:
    asked = arguments(__doc__).parse_args()
    model, ids = model_and_ids(asked)
    layers: list[float] = []
    began = time.monotonic()
    report = fold_and_round(
        model, asked.work / "ours", torch.tensor(ids), Grid(), lambda number, total, measured: layers.append(measured["seconds"])
    )
    seconds = time.monotonic() - began
    copy_config(model, asked.work / "ours")
    found = {
        "device": torch.cuda.get_device_name() if best_device().type == "cuda" else "cpu",
        "layers": report.layers,
        "tokens": len(ids) * len(ids[0]),
        "seconds": round(seconds, 2),
        "seconds_first_layer": round(layers[0], 3),
        "seconds_per_layer": round(sum(layers[1:]) / max(len(layers) - 1, 1), 3),
        "gpu_gb_peak": round(report.gpu_bytes / 1e9, 2),
        "host_gb_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "was_rounded_plainly": report.is_plain,
        **report.as_metrics(),
    }
    print(json.dumps(found))
    return 0


def arguments(text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--layers", type=int, default=32, help="of the random model")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--ids", type=Path)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--length", type=int, default=512)
    return parser


def model_and_ids(asked: argparse.Namespace) -> tuple[Path, list[list[int]]]:
    """The model's folder and the calibration sequences."""
    model = asked.model or asked.work / "model"
    if not (model / "config.json").exists():
        shapes.byte_tokenizer(shapes.phi35(model, asked.layers))
    ids = json.loads(asked.ids.read_text()) if asked.ids else shapes.sequences(model, asked.rows, asked.length)
    return model, ids


def copy_config(model: Path, folder: Path) -> None:
    """What makes weights a model."""
    for file in [model / "config.json", *model.glob("*token*.json")]:
        (folder / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    raise SystemExit(main())
