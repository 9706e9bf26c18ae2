"""AutoAWQ's fold of the same model with the same calibration as `awq_shape`, for figures of one run side by side.

    python -m tests.bench_gpu.autoawq_shape WORK [--layers 32] [--model FOLDER] [--ids FILE] [--rows 128] [--length 512]

Needs autoawq 0.2.9 (`--no-deps`) and zstandard, beside PyTorch, transformers, accelerate and datasets. The weights (scales and clips folded
in, not rounded) go to WORK/autoawq. The time is that of the fold and the saving; loading is told beside it. Prints a line of JSON.
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import torch

from tests.bench_gpu.awq_shape import arguments, copy_config, model_and_ids

GRID = {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "gemm"}


def main() -> int:
    from awq import AutoAWQForCausalLM
    from transformers import AutoTokenizer

    asked = arguments(__doc__).parse_args()
    model, ids = model_and_ids(asked)
    began = time.monotonic()
    network = AutoAWQForCausalLM.from_pretrained(str(model), device_map="cpu", safetensors=True, torch_dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = time.monotonic()
    network.quantize(
        tokenizer, quant_config=GRID, duo_scaling=True, export_compatible=True, calib_data=ids,
        max_calib_seq_len=len(ids[0]), max_calib_samples=len(ids),
    )  # fmt: skip
    folded = time.monotonic()
    save(network, model, asked.work / "autoawq")
    found = {
        "layers": network.model.config.num_hidden_layers,
        "seconds": round(time.monotonic() - loaded, 2),
        "seconds_loading": round(loaded - began, 2),
        "seconds_per_layer": round((folded - loaded) / network.model.config.num_hidden_layers, 3),
        "gpu_gb_peak": round(torch.cuda.max_memory_allocated() / 1e9, 2) if torch.cuda.is_available() else 0,
        "host_gb_peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }
    print(json.dumps(found))
    return 0


def save(network, model: Path, folder: Path) -> None:
    """Save as an ordinary float model."""
    network.save_quantized(str(folder))
    copy_config(model, folder)  # without the note that the weights were packed, which they were not


if __name__ == "__main__":
    raise SystemExit(main())
