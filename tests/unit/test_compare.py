"""What a choice of a comparison stands for, and what its steps are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.core.compare import SAMPLE_NOTE, note_of, parse_choices, weighed
from toolkit.core.comparing import general_rows
from toolkit.core.device import Device
from toolkit.core.olive_config import olive_configs
from toolkit.core.plan import build_steps, comparison_steps
from toolkit.core.precision import PRECISIONS, chosen_devices
from toolkit.core.recipe import EXPORT_PARTS, parse
from toolkit.core.run import RunState, StepState
from toolkit.errors import DataError, RecipeError

ROOT = Path(__file__).resolve().parents[2]
CPU = Device("cpu", "linux/amd64", "cpu", "int4", 2048, 2.0, 512, 200)
CUDA = Device("card", "linux/amd64", "cuda12", "int4", 8192, 4.0, 2048, 4000)
TEXT = """
name = "x"
[model]
source = "./model"
[data]
text_template = "{prompt}{response}"
[[adapters]]
name = "one"
train = "one.jsonl"
"""


def recipe(more: str = ""):
    return parse(TEXT + more, Path("/r/r.toml"))


def steps_of(text: str, asked=None, device: Device = CPU) -> dict[str, dict]:
    asked = asked or recipe()
    made = comparison_steps(parse_choices(text, asked, device), asked, device, Path("/m"), Path("data"))
    return {step["name"]: step for step in made}


def test_a_choice_that_equals_the_recipe_asks_for_the_very_steps_of_a_build():
    built = {step["name"]: step for step in build_steps(recipe(), [CPU], Path("/m"), Path("data"))}
    compared = steps_of("awq")
    for ours, theirs in (("quantize-awq", "quantize"), ("export-awq", "export-cpu")):
        assert compared[ours]["options"] == built[theirs]["options"]
    assert compared["quantize-awq"]["inputs"] == built["quantize"]["inputs"]


def test_choices_that_quantize_alike_share_the_step():
    steps = steps_of("none,int8,fp32,none+down_proj,awq,awq+down_proj")
    assert [name for name in steps if name.startswith("quantize")] == ["quantize-none", "quantize-awq", "quantize-awq-down_proj"]
    assert {steps[f"export-{name}"]["inputs"]["model"]["step"] for name in ("none", "int8", "fp32", "none-down_proj")} == {"quantize-none"}
    assert steps["export-int8"]["options"]["precision"] == "int8"


def test_what_keeps_more_bits_is_not_rounded_to_fewer_before_the_export():
    steps = steps_of("gptq@64+down_proj+last_layer")
    name = "gptq-64-down_proj-last_layer"
    assert steps[f"quantize-{name}"]["options"]["keep"] == ["down_proj", "last_layer"]
    assert steps[f"export-{name}"]["options"]["int8"] == ["down_proj", "last_layer"]
    assert steps[f"export-{name}"]["options"]["block_size"] == steps[f"quantize-{name}"]["options"]["group_size"] == 64


def test_every_choice_is_weighed_on_the_same_text():
    weighing = [step for step in steps_of("awq,rtn@128").values() if step["kind"] == "weigh"]
    assert [step["options"]["choice"] for step in weighing] == ["float", "awq", "rtn@128"]
    shared = [{name: at for name, at in step["inputs"].items() if name != "graph"} for step in weighing]
    assert shared[0] == shared[1] == shared[2]
    assert {"base", "general", "rows_one"} == set(shared[0])


def test_the_configurations_for_olive_know_the_steps_of_a_comparison():
    found = olive_configs(list(steps_of("gptq,none").values()), None)
    assert found["quantize-gptq"]["passes"]["round"]["type"] == "GptqOnGrid"
    assert found["export-none"]["passes"]["build"]["rounding"]["is_searched"]
    assert not found["export-gptq"]["passes"]["build"]["rounding"]["is_searched"]


def test_the_table_has_a_row_for_each_choice_that_is_weighed_so_far():
    steps = steps_of("awq,rtn")
    metrics = {"general.perplexity": 40.5, "one.perplexity": 30.0, "graph.bytes": 7.0, "tokens_per_second": 9.5}
    state = RunState(steps={"weigh-float": StepState("weigh-float", metrics={"general.perplexity": 34.0, "model.bytes": 9.0}),
                            "weigh-awq": StepState("weigh-awq", metrics=metrics)})  # fmt: skip
    rows = weighed(steps, state)
    assert [(row.choice, row.bytes, row.tokens_per_second) for row in rows] == [("float", 9, None), ("awq", 7, 9.5)]
    assert rows[1].perplexity == {"general": 40.5, "one": 30.0}


def test_a_comparison_of_the_sample_says_where_its_weights_come_from():
    assert note_of({"model": {"source": "sample:smollm2-135m-instruct"}}) == SAMPLE_NOTE
    assert note_of({"model": {"source": "owner/name"}}) == ""


def test_general_text_that_was_calibrated_on_is_not_held_out(tmp_path):
    (tmp_path / "speech.txt").write_text("Some words.\n\nOthers.")
    (tmp_path / "copy.txt").write_text("Some words.\n\nOthers.")
    asked = parse(
        TEXT + f"[quantize]\ncalibration = '{tmp_path}/speech.txt'\n[evaluate]\ngeneral = '{tmp_path}/copy.txt'\n", tmp_path / "r.toml"
    )
    with pytest.raises(DataError, match="calibrated on"):
        general_rows(asked, tmp_path)
    assert len(general_rows(recipe(), ROOT / "data" / "samples")) > 20, "the toolkit's own text"


@pytest.mark.parametrize(("precision", "device", "known"), [("fp16", CPU, "int4, int8, fp32"), ("int8", CUDA, "int4, fp16, fp32")])
def test_a_precision_the_device_has_not_is_refused_before_anything_starts(tmp_path, precision, device, known):
    fields = {"platform": device.platform, "accelerator": device.accelerator, "precision": "int4"}
    numbers = {"memory_mb": 2048, "cpus": 2.0, "max_length": 512, "size_budget_mb": 200}
    lines = [f"{key} = '{value}'" for key, value in fields.items()] + [f"{key} = {value}" for key, value in numbers.items()]
    (tmp_path / f"{device.name}.toml").write_text("\n".join(lines))
    asked = recipe(f"[export]\nprecision = '{precision}'\n").model_copy(update={"devices": (device.name,)})
    with pytest.raises(RecipeError, match=f"{precision} cannot be exported") as raised:
        chosen_devices(tmp_path, asked)
    assert known in raised.value.hint


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("int8 = ['nose']", "unknown part 'nose'; there are: q_proj"),
        ("keep = ['lm_head']", "an option of its own, lm_head"),
        ("precision = 'fp32'\nkeep = ['down_proj']", "no parts with more bits"),
        ("precision = 'int8'\nint8 = ['down_proj']", "no parts with more bits"),
    ],
)
def test_parts_that_are_unknown_or_change_nothing_are_refused_in_the_recipe(more, told):
    with pytest.raises(RecipeError, match=told):
        recipe(f"[export]\n{more}\n")


def test_toolkit_and_build_steps_know_the_same_precisions_and_parts():
    spaces: dict[str, dict] = {}
    for name in ("part_names", "step_export"):
        text = (ROOT / "containers" / "build" / f"{name}.py").read_text()
        own = text if name == "part_names" else text[text.index("PRECISIONS = ") : text.index("\n", text.index("PRECISIONS = "))]
        exec(own, spaces.setdefault(name, {}))
    assert spaces["step_export"]["PRECISIONS"] == PRECISIONS
    assert set(spaces["part_names"]["KNOWN"]) == set(EXPORT_PARTS)
