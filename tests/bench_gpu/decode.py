"""Decode speed of an exported folder on CUDA: base and adapters, greedy, one conversation.

    python -m tests.bench_gpu.decode GRAPH_FOLDER [--adapter FILE.onnx_adapter ...] [--file merged-x.onnx ...] [--prompt 128] [--tokens 300]

Prints a line of JSON for each: tokens a second (median of four), time to the first token (least of four).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "containers" / "build"))

from accelerator import require_cuda


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--adapter", type=Path, action="append", default=[])
    parser.add_argument("--file", action="append", default=[], help="another graph of the folder, such as a merged one")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=300)
    asked = parser.parse_args()
    require_cuda("cuda")
    for file in ("", *asked.file):
        files = asked.adapter if not file else []
        model, adapters = load(asked.folder, file, files)
        for name in ("", *(path.stem for path in files)):
            print(json.dumps({"graph": file or "model.onnx", "adapter": name, **measured(model, adapters, name, asked)}), flush=True)
        del model, adapters
    return 0


def load(folder: Path, file: str, files: list[Path]):
    """The graph with whole tokens replayed, and the adapters by the names of their files."""
    import onnxruntime_genai as genai

    config = genai.Config(str(folder))
    config.clear_providers()
    config.append_provider("cuda")
    config.set_provider_option("cuda", "enable_cuda_graph", "1")
    if file:
        config.overlay(json.dumps({"model": {"decoder": {"filename": file}}}))
    model = genai.Model(config)
    adapters = genai.Adapters(model)
    for path in files:
        adapters.load(str(path), path.stem)
    return model, adapters


def measured(model, adapters, name: str, asked: argparse.Namespace) -> dict[str, float]:
    once(model, adapters, name, asked.prompt, 20)  # the first call loads the kernels
    runs = [once(model, adapters, name, asked.prompt, asked.tokens) for _ in range(4)]
    return {
        "prompt": asked.prompt,
        "tokens_per_second": round(statistics.median(speed for speed, _first in runs), 1),
        "first_token_ms": round(1000 * min(first for _speed, first in runs), 2),
    }


def once(model, adapters, name: str, prompt: int, tokens: int) -> tuple[float, float]:
    """Tokens a second after the first one, and seconds to the first."""
    import onnxruntime_genai as genai

    params = genai.GeneratorParams(model)
    length = prompt + tokens + 8
    params.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = genai.Generator(model, params)
    if name:
        generator.set_active_adapter(adapters, name)
    began = time.perf_counter()
    generator.append_tokens((np.arange(prompt) % 200 + 10).astype(np.int32))
    generator.generate_next_token()
    first = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(tokens):
        generator.generate_next_token()
    return tokens / (time.perf_counter() - began), first


if __name__ == "__main__":
    sys.exit(main())
