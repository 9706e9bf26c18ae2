"""Quantizers side by side on the sample model, where grids coincide (groups of 32) and where they do not (128).

`--recipe` and `--home` measure another model, or take from the cache of a home what is there. A quantizer that looks at what the model
computes must not end above plain rounding on held-out general text.
"""

from __future__ import annotations

import json
import subprocess

from tests.bench.measure import EDGE, ROOT, Finding, Options, Skipped, clean_environ
from toolkit import settings as settings_module
from toolkit.core.files import as_size

CHOICES = "awq,rtn,awq@128,gptq@128,rtn@128,none@128"
MUST_NOT_LOSE_TO = {"awq": "rtn", "awq@128": "rtn@128"}


def measure(options: Options) -> list[Finding]:
    if options.engine == "local" and not settings_module.load({}).build_python.exists():
        raise Skipped("there is no local build environment; `make build-env` makes it")
    home = options.home or options.work / "home"
    home.mkdir(exist_ok=True)
    rows = _compared(options, clean_environ(home))
    general = {row["choice"]: row["perplexity"]["general"] for row in rows}
    return [_finding(row, general) for row in rows]


def _compared(options: Options, environ: dict[str, str]) -> list[dict]:
    recipe = options.recipe or ROOT / "data" / "recipes" / "travel.toml"
    asked = [EDGE, "run", str(recipe), "--compare", CHOICES, "--engine", options.engine]
    subprocess.run(asked, env=environ, check=True, stdout=subprocess.DEVNULL)
    shown = subprocess.run([EDGE, "show", "last", "--json"], env=environ, check=True, capture_output=True, text=True)
    return json.loads(shown.stdout)["comparison"]


def _finding(row: dict, general: dict[str, float]) -> Finding:
    choice, rival = row["choice"], MUST_NOT_LOSE_TO.get(row["choice"])
    told = ", ".join(f"{text} {value:.2f}" for text, value in row["perplexity"].items())
    speed = f", {row['tokens_per_second']:.0f} tokens/s" if row["tokens_per_second"] else ""
    goal = f"general not above {rival}" if rival else ""
    is_met = general[choice] <= general[rival] if rival else None
    return Finding(f"Perplexity with {choice}", told, goal, is_met, f"{as_size(row['bytes'])}{speed}")
