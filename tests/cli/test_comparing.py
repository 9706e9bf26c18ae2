"""`edge run --compare`: quantizers and precisions side by side, as a run like any other."""

from __future__ import annotations

import json

import pytest

FIGURES = {"general.perplexity": 34.375, "travel.perplexity": 26.25, "graph.bytes": 2_000_000, "tokens_per_second": 148.25}


@pytest.fixture
def compared(desk):
    """A desk with a finished comparison."""
    desk.script(weigh={"metrics": FIGURES})
    done = desk.edge("run", desk.recipe, "--compare", "awq,rtn@64,int8")
    assert done.returncode == 0, done.stdout + done.stderr
    return desk, done


def test_the_table_stands_at_the_end(compared):
    desk, done = compared
    table = done.stdout[done.stdout.index("Perplexity on held-out text") :].splitlines()
    assert table[1].split() == ["choice", "size", "general", "travel", "tokens/s"]
    assert [line.split()[0] for line in table[3:]] == ["float", "awq", "rtn@64", "int8"]
    assert table[4].split() == ["awq", "2.0", "MB", "34.375", "26.250", "148.2"]
    assert "\n".join(table) in desk.edge("show", "last").stdout


def test_it_is_a_run_with_three_steps_a_choice_and_its_rows_in_json(compared):
    desk, _ = compared
    shown = json.loads(desk.edge("show", "last", "--json").stdout)
    assert list(shown["state"]["steps"]) == [
        "weigh-float",
        "quantize-awq", "export-awq", "weigh-awq",
        "quantize-rtn-64", "export-rtn-64", "weigh-rtn-64",
        "quantize-none", "export-int8", "weigh-int8",
    ]  # fmt: skip
    assert [row["choice"] for row in shown["comparison"]] == ["float", "awq", "rtn@64", "int8"]
    assert shown["comparison"][1]["perplexity"] == {"general": 34.375, "travel": 26.25}


def test_a_build_finds_in_the_cache_what_a_comparison_has_made(compared):
    desk, _ = compared
    done = desk.edge("run", desk.recipe)
    assert done.returncode == 0, done.stderr
    cached = {name: step["cached"] for name, step in json.loads(desk.edge("show", "last", "--json").stdout)["state"]["steps"].items()}
    assert cached["quantize"] and cached["export-cpu"] and not cached["finetune-travel"]


def test_one_that_failed_goes_on_where_it_was(desk):
    desk.script(export={"fail": "The wheels came off."}, weigh={"metrics": FIGURES})
    assert desk.edge("run", desk.recipe, "--compare", "rtn").returncode == 1
    desk.script(weigh={"metrics": FIGURES})
    done = desk.edge("resume", "last")
    assert done.returncode == 0, done.stderr
    assert "Perplexity on held-out text" in done.stdout
    shown = json.loads(desk.edge("show", "last", "--json").stdout)
    assert shown["state"]["steps"]["weigh-float"]["cached"]


def test_there_is_nothing_in_it_to_package(compared):
    desk, _ = compared
    done = desk.edge("package", "last")
    assert done.returncode != 0
    assert "comparison" in done.stderr


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ("magic", "awq, gptq, rtn, none"),
        ("awq@48", "16, 32, 64, 128"),
        ("awq+nose", "down_proj"),
        ("fp16", "int4, int8, fp32"),
        ("int8+down_proj", "awq+down_proj"),
        ("rtn,rtn", "each choice once"),
        (" , ", "awq, gptq, rtn, none"),
    ],
)
def test_an_unknown_choice_is_refused_with_those_there_are(desk, choices, told):
    done = desk.edge("run", desk.recipe, "--compare", choices)
    assert done.returncode == 3, done.stderr
    assert told in done.stderr
    assert desk.edge("runs").stdout == ""
