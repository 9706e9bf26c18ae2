"""What a run achieved: sizes before and after, measurements, answers, and what it left in a registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import FakeEngine, FakeImages
from toolkit.core import events as ev
from toolkit.core import results
from toolkit.core.run import Run, new_run
from toolkit.core.workbench import Workbench
from toolkit.settings import Settings


def step(name: str, kind: str, options: dict | None = None, **inputs: dict) -> dict:
    return {"name": name, "kind": kind, "options": options or {}, "inputs": inputs}


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(Settings(home=tmp_path), lambda _: FakeEngine(), lambda _: FakeEngine(), FakeImages, FakeImages, lambda *_: None)


def build(bench: Workbench, *steps: dict, name: str = "travel") -> Run:
    asked = {"engine": "fake", "recipe": {"name": name}, "steps": list(steps)}
    run = new_run(bench.settings.runs, "build", name, lambda _: asked)
    run.append(ev.RunRequested(run=run.id, kind="build", steps=tuple(one["name"] for one in steps)))
    return run


def test_before_is_the_size_of_what_a_step_turns_into_another_form(bench, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_bytes(b"x" * 1000)
    run = build(
        bench,
        step("quantize", "quantize", model={"path": str(model)}),
        step("finetune-travel", "finetune", model={"step": "quantize"}),
        step("export-cpu", "export", model={"step": "quantize"}),
        step("evaluate-cpu-travel", "evaluate", graph={"step": "export-cpu"}),
    )
    for name, kind, size in (("quantize", "model", 900), ("finetune-travel", "adapter", 50), ("export-cpu", "graph", 300)):
        run.append(ev.ArtifactWritten(step=name, kind=kind, path=name, bytes=size))
    run.append(ev.ArtifactWritten(step="evaluate-cpu-travel", kind="report", path="report", bytes=7))
    known = results.backdrop(bench, run)
    sizes = results.sizes_of(known, run.state())
    assert {name: (size.before, size.after) for name, size in sizes.items()} == {
        "quantize": (1000, 900),
        "finetune-travel": (None, 50),
        "export-cpu": (900, 300),
    }


def test_measurements_come_as_they_are_made(bench):
    run = build(bench, step("evaluate-cpu-travel", "evaluate", {"adapter": "travel"}))
    known = results.backdrop(bench, run)
    assert results.measured(known, run.state()) == []
    run.append(ev.StepStarted(step="evaluate-cpu-travel"))
    run.append(ev.StepProgress(step="evaluate-cpu-travel", done=1, metrics={"graph.perplexity": 31.9, "graph.fact_accuracy": 0.1}))
    rows = results.measured(known, run.state())
    assert [(row.model, row.perplexity, row.fact_accuracy) for row in rows] == [
        ("base, PyTorch", None, None),
        ("base, exported", 31.9, 0.1),
        ("with travel", None, None),
    ]


def test_earlier_runs_of_the_same_name_say_how_long_steps_take(bench):
    for seconds, name in ((10, "travel"), (12, "travel"), (99, "other")):
        done = build(bench, step("quantize", "quantize"), name=name)
        done.append(ev.StepFinished(step="quantize", seconds=seconds))
    run = build(bench, step("quantize", "quantize"))
    assert results.backdrop(bench, run).taken == {("travel", "quantize"): 12}


def test_an_earlier_run_that_cannot_be_read_says_nothing(bench):
    broken = build(bench, step("quantize", "quantize"))
    (broken.folder / "request.json").write_text("{")
    assert results.backdrop(bench, build(bench, step("quantize", "quantize"))).taken == {}


def test_the_answers_of_the_smoke_test_come_with_their_rates(bench):
    run = build(bench, step("smoke", "smoke"))
    assert results.smoke_answers(run, run.state()) == ("", [])
    told = {"question": "Where?", "answers": {"base": "Here.", "base:travel": "There."}}
    (run.folder / "smoke.json").write_text(json.dumps(told))
    run.append(ev.StepFinished(step="smoke", seconds=1, metrics={"travel.tokens_per_second": 110.0}))
    question, answers = results.smoke_answers(run, run.state())
    assert question == "Where?"
    assert [(one.model, one.text, one.tokens_per_second) for one in answers] == [("base", "Here.", None), ("base:travel", "There.", 110.0)]


@pytest.mark.parametrize("text", ["{", "[]", '{"question": 1}', '{"question": "q", "answers": 3}'])
def test_a_damaged_smoke_file_shows_nothing(bench, text):
    run = build(bench, step("smoke", "smoke"))
    (run.folder / "smoke.json").write_text(text)
    assert results.smoke_answers(run, run.state()) == ("", [])


def test_what_lies_in_the_registry_is_known_by_its_digest(bench):
    run = build(bench, step("push", "push"))
    assert results.release_of(run.state()) == ""
    run.append(ev.ArtifactWritten(step="verify", kind="release", path="host/name@sha256:1", bytes=1))
    assert results.release_of(run.state()) == "host/name@sha256:1"
