"""What AutoAWQ makes of the tiny trained model, written to autoawq_reference.json.

    python tests/containers/build/make_autoawq_reference.py

Needs autoawq 0.2.9 (`pip install --no-deps autoawq==0.2.9 zstandard`) beside the packages of the build image. The tests read the file only.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "containers" / "build")]

from passes.grid import Grid  # noqa: E402
from tiny_models import save, tiny_tokenizer  # noqa: E402
from trained_model import LENGTH, perplexity, texts, trained_model  # noqa: E402

REFERENCE = HERE / "autoawq_reference.json"
CALIBRATION_ROWS = 24


def main() -> None:
    from awq import AutoAWQForCausalLM

    calibration, held_out = texts()
    before = trained_model()
    found = {"perplexity_float": perplexity(before, held_out)}
    with tempfile.TemporaryDirectory() as folder:
        save(before, Path(folder))
        wrapped = AutoAWQForCausalLM.from_pretrained(folder, device_map="cpu", safetensors=True, torch_dtype=torch.float32)
        torch.Tensor.cpu = torch.Tensor.clone  # AutoAWQ keeps its originals by `.cpu()`, which on a CPU is no copy: it would fold into them
        wrapped.quantize(
            tiny_tokenizer(), quant_config={"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "gemm"}, duo_scaling=True,
            export_compatible=True, calib_data=calibration[:CALIBRATION_ROWS].tolist(), max_calib_seq_len=LENGTH,
            max_calib_samples=CALIBRATION_ROWS,
        )  # fmt: skip
    after = wrapped.model.float()
    found["scales"] = {name: scale.tolist() for name, scale in scales(before, after).items()}
    for name, model in (("autoawq", after), ("plain", before)):
        for layer in model.model.layers:
            for module in layer.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.data = Grid().rounded(module.weight.data)
        found[f"perplexity_{name}"] = perplexity(model, held_out)
    REFERENCE.write_text(json.dumps(found) + "\n", encoding="utf-8")


def scales(before, after) -> dict[str, torch.Tensor]:
    """What the inputs of attention and MLP were divided by, by the norm it was folded into."""
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    return {name: old[name].data / new[name].data for name in old if name.endswith("layernorm.weight")}


if __name__ == "__main__":
    main()
