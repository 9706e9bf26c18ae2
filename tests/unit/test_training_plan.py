"""What the fine-tuning step depends on, and the curve of its held-out loss."""

from __future__ import annotations

from pathlib import Path

from toolkit.core import events as ev
from toolkit.core.curves import Curves
from toolkit.core.plan import build_steps
from toolkit.core.recipe import parse

RECIPE = """
name = "x"
[model]
source = "./model"
[data]
text_template = "{prompt}{response}"
[finetune]
patience = 3
[[adapters]]
name = "stops"
train = "one.jsonl"
[[adapters]]
name = "goes-on"
train = "two.jsonl"
finetune = { patience = 0 }
"""


def test_only_early_stop_makes_training_depend_on_held_out_rows():
    steps = build_steps(parse(RECIPE, Path("/r/r.toml")), [], Path("/m"), Path("data"))
    inputs = {step["name"]: step["inputs"] for step in steps}
    assert inputs["finetune-stops"]["held_out"] == {"path": "data/stops.held_out.jsonl"}
    assert set(inputs["finetune-goes-on"]) == {"model", "train"}


def test_the_held_out_loss_is_a_curve_beside_the_loss():
    curves = Curves()
    curves.add(ev.StepProgress(step="finetune", done=0, metrics={"held_out_loss": 3.5}))
    curves.add(ev.StepProgress(step="finetune", done=1, metrics={"loss": 3.0}))
    curves.add(ev.StepProgress(step="finetune", done=2, metrics={"held_out_loss": 2.5}))
    drawn = curves.of_steps()
    assert (drawn["finetune", "held_out_loss"].xs, drawn["finetune", "loss"].xs) == ((0, 2), (1,))
