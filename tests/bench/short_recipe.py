"""The built-in sample's recipe, cut short: the real model, data and steps, hardly any training or evaluation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.bench.measure import ROOT
from toolkit.core.sample import NAME

SHORTER = {
    '"../samples/': f'"{ROOT}/data/samples/',
    'algorithm = "awq"': 'algorithm = "rtn"',
    "epochs = 3.0": "epochs = 3.0\nmax_steps = 2",
    "perplexity_rows = 64": "perplexity_rows = 4",
    "fact_rows = 64": "fact_rows = 2",
    "max_new_tokens = 32": "max_new_tokens = 4",
}


def write_short_recipe(path: Path) -> Path:
    text = (ROOT / "data" / "recipes" / "travel.toml").read_text("utf-8")
    for long, short in SHORTER.items():
        if long not in text:
            raise RuntimeError(f"travel.toml has no {long} any more; change SHORTER in {Path(__file__).name}.")
        text = text.replace(long, short)
    path.write_text(text, "utf-8")
    return path


def lend_sample_model(home: Path) -> None:
    """Link the sample model of this checkout into another home, where it is made already; else the toolkit fetches it."""
    made = ROOT / "data" / "models" / NAME
    target = home / "models" / NAME
    if not made.is_dir() or target.exists():
        return
    try:
        shutil.copytree(made, target, copy_function=os.link)
    except OSError:  # another file system
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
