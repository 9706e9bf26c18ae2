"""Perplexity after int4 of folded models, side by side: on one text, each rounded onto the grid of the export.

    python -m tests.bench_gpu.awq_quality FLOAT_MODEL TEXT FOLDED [FOLDED ...]

FOLDED are the folders that `awq_shape` and `autoawq_shape` leave; rounding what lies on the grid moves nothing. Plain rounding is always
among them. Prints a line of JSON for each: perplexity, and the divergence of its next-token distribution from the float model's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "containers" / "build"))

from passes.awq_fold import best_device
from passes.grid import Grid


@torch.no_grad()
def main() -> int:
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("float_model", type=Path)
    parser.add_argument("text", type=Path, help="a text file that no calibration has seen")
    parser.add_argument("folded", type=Path, nargs="*")
    parser.add_argument("--tokens", type=int, default=6000)
    parser.add_argument("--length", type=int, default=256)
    asked = parser.parse_args()
    ids = AutoTokenizer.from_pretrained(asked.float_model)(asked.text.read_text(encoding="utf-8"))["input_ids"][: asked.tokens]
    rows = torch.tensor(ids[: len(ids) // asked.length * asked.length]).view(-1, asked.length).to(best_device())
    wanted = said_by(asked.float_model, rows, is_rounded=False)
    tell("float", wanted, wanted, rows)
    for name, folder in {"plain rounding": asked.float_model, **{str(folder): folder for folder in asked.folded}}.items():
        tell(name, said_by(folder, rows, is_rounded=True), wanted, rows)
    return 0


def said_by(folder: Path, rows: torch.Tensor, is_rounded: bool) -> torch.Tensor:
    """Log-probabilities of every next token."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(rows.device)
    for name, module in network.named_modules():
        if is_rounded and isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.weight.data = Grid().rounded(module.weight.data)
    return torch.cat([network(row[None]).logits[0, :-1].log_softmax(-1).half() for row in rows])


def tell(name: str, said: torch.Tensor, wanted: torch.Tensor, rows: torch.Tensor) -> None:
    lost, far = 0.0, 0.0
    for one, exact, ids in zip(said.split(1024), wanted.split(1024), rows[:, 1:].reshape(-1).split(1024), strict=True):
        lost -= one.float().gather(1, ids[:, None]).sum().item()
        far += torch.nn.functional.kl_div(one.float(), exact.float(), log_target=True, reduction="sum").item()
    perplexity = torch.tensor(lost / len(said)).exp().item()
    print(json.dumps({"model": name, "tokens": len(said), "perplexity": round(perplexity, 3), "divergence": round(far / len(said), 5)}))


if __name__ == "__main__":
    raise SystemExit(main())
