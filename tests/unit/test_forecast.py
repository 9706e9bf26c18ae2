"""What a run is said to do is what it does: real runs of the real build program, with stub steps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.desk import RECIPE, Desk, make_program, write_project, write_rows
from toolkit.core.forecast import CACHED, RUNS, UNKNOWN

TWO = RECIPE + '\n[[adapters]]\nname = "persona"\ntrain = ["persona.jsonl"]\nheld_out = 0.25\n'
STEPS = (
    "quantize", "finetune-travel", "finetune-persona", "export-cpu", "adapter-cpu-travel", "adapter-cpu-persona",
    "evaluate-cpu-travel", "evaluate-cpu-persona",
)  # fmt: skip
OF_PERSONA = {"finetune-persona", "adapter-cpu-persona", "evaluate-cpu-persona"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, make_program(tmp_path / "program"))
    write_project(desk.project)
    desk.recipe.write_text(TWO)
    persona(desk, "aye")
    yield desk
    desk.leave()


def persona(desk: Desk, word: str) -> None:
    write_rows(desk.project / "persona.jsonl", *({"prompt": f"Say {n}", "response": f"{word} {n}"} for n in range(8)))


def plan(desk: Desk) -> dict:
    asked = desk.edge("check", desk.recipe, "--json")
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)["plan"]


def states(desk: Desk) -> dict[str, str]:
    return {step["name"]: step["state"] for step in plan(desk)["steps"]}


def cached_in_a_run(desk: Desk) -> dict[str, bool]:
    """Run it, and say which steps came from the cache in truth."""
    done = desk.edge("run", desk.recipe)
    assert done.returncode == 0, done.stderr
    return {name: step.cached for name, step in desk.run().state().steps.items()}


def test_before_the_first_run_every_step_is_to_run_and_no_time_is_known(desk):
    found = plan(desk)
    assert {step["name"]: step["state"] for step in found["steps"]} == dict.fromkeys(STEPS, RUNS)
    assert {step["seconds"] for step in found["steps"]} == {None}


def test_after_a_run_all_steps_come_from_the_cache_and_they_do(desk):
    cached_in_a_run(desk)
    assert states(desk) == dict.fromkeys(STEPS, CACHED)
    assert set(cached_in_a_run(desk).values()) == {True}
    assert states(desk) == dict.fromkeys(STEPS, CACHED)


def test_new_data_for_one_adapter_is_said_to_run_its_three_steps_and_does(desk):
    cached_in_a_run(desk)
    persona(desk, "nay")
    said = states(desk)
    assert {name for name, state in said.items() if state == RUNS} == OF_PERSONA
    assert {name for name, state in said.items() if state == CACHED} == set(STEPS) - OF_PERSONA
    assert {name for name, cached in cached_in_a_run(desk).items() if not cached} == OF_PERSONA


def test_without_its_cache_every_step_is_to_run_and_its_times_are_known(desk):
    cached_in_a_run(desk)
    shutil.rmtree(desk.home / "cache")
    found = plan(desk)["steps"]
    assert {step["state"] for step in found} == {RUNS}
    assert all(step["seconds"] > 0 and "as before, once" in step["basis"] for step in found)
    assert set(cached_in_a_run(desk).values()) == {False}


def test_a_damaged_entry_of_the_cache_is_not_counted_on(desk):
    cached_in_a_run(desk)
    entry = json.loads((desk.run().folder / "steps" / "export-cpu" / "done").read_text())["key"]
    next((desk.home / "cache").glob(f"*/{entry}/out/model.onnx")).write_text("torn off, and longer than it was")
    assert {name for name, state in states(desk).items() if state == RUNS} == {"export-cpu"}


def test_a_deleted_run_is_not_forgotten_once_it_was_looked_at(desk):
    cached_in_a_run(desk)
    plan(desk)
    shutil.rmtree(desk.run().folder)
    assert states(desk) == dict.fromkeys(STEPS, CACHED)


def test_steps_of_a_deleted_run_that_nobody_looked_at_may_be_cached_and_are(desk):
    cached_in_a_run(desk)
    shutil.rmtree(desk.run().folder)
    assert "8 steps of runs that are gone" in plan(desk)["notes"][0]
    assert set(states(desk).values()) == {UNKNOWN}
    assert set(cached_in_a_run(desk).values()) == {True}


def test_other_options_run_and_take_the_time_of_steps_of_their_kind(desk):
    cached_in_a_run(desk)
    desk.recipe.write_text(TWO.replace("[[adapters]]", "[finetune]\nrank = 3\n\n[[adapters]]", 1))
    found = {step["name"]: step for step in plan(desk)["steps"]}
    assert found["quantize"]["state"] == CACHED
    assert (found["finetune-travel"]["state"], found["finetune-travel"]["basis"]) == (RUNS, "other options, 2 times")


def test_a_changed_build_program_is_not_said_to_find_its_cache(desk):
    cached_in_a_run(desk)
    with (desk.program / "build" / "step_export.py").open("a") as script:
        script.write("# changed\n")
    assert set(states(desk).values()) == {UNKNOWN}
    ran = cached_in_a_run(desk)
    assert not ran["export-cpu"] and ran["quantize"]


def test_changed_model_files_are_not_said_to_be_in_the_cache(desk):
    cached_in_a_run(desk)
    config = desk.project / "model" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert CACHED not in states(desk).values()


def test_a_run_that_noted_nothing_leaves_it_unknown(desk):
    cached_in_a_run(desk)
    request = json.loads((desk.run().folder / "request.json").read_text())
    del request["notes"]
    (desk.run().folder / "request.json").write_text(json.dumps(request))
    assert set(states(desk).values()) == {UNKNOWN}


def test_the_plan_for_people_says_what_runs_and_for_how_long(desk):
    cached_in_a_run(desk)
    persona(desk, "nay")
    said = desk.edge("check", desk.recipe).stdout
    assert "plan: 3 of 8 steps run, about" in said and "5 come from the cache" in said
    assert "finetune-persona" in said and "from cache" in said


def test_the_olive_configuration_is_printed_as_json(desk):
    printed = desk.edge("check", desk.recipe, "--olive")
    assert list(json.loads(printed.stdout)) == ["quantize", "finetune-travel", "finetune-persona", "export-cpu"]
    assert "FoldedRounding" in printed.stderr
