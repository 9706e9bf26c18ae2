"""What every BuildEngine owes a run: one set of tests for the local engine and for Docker (the fake is held to it in unit tests)."""

from __future__ import annotations

import pytest

from tests.engines.conftest import KINDS, until
from toolkit.core import lifecycle
from toolkit.errors import RunBusy


def names(events):
    return [type(event).__name__ for event in events]


def test_a_run_is_driven_to_its_end_and_leaves_a_manifest(real_engine, make_run):
    run = make_run()
    lifecycle.start(real_engine, run)
    events = list(lifecycle.attach(real_engine, run))
    assert names(events)[0] == "RunRequested" and names(events)[-1] == "RunFinished"
    assert run.state().finished_steps == 3
    assert [artifact["step"] for artifact in run.manifest()["artifacts"]] == list(KINDS)
    assert (run.folder / "steps" / "first" / "out" / "result.txt").read_text() == "first"


def test_a_driven_run_refuses_a_second_driver(real_engine, make_run, tmp_path):
    run = make_run(first={"wait_for": str(tmp_path / "gate")})
    lifecycle.start(real_engine, run)
    until(lambda: (run.folder / "first.pid").exists())
    with pytest.raises(RunBusy):
        lifecycle.start(real_engine, run)
    lifecycle.stop(real_engine, run)


def test_stopping_ends_every_process_of_the_run(real_engine, make_run, tmp_path):
    run = make_run(first={"wait_for": str(tmp_path / "gate")})
    lifecycle.start(real_engine, run)
    until(lambda: (run.folder / "first.pid").exists())
    assert lifecycle.stop(real_engine, run).status == "stopped"
    assert not lifecycle.is_driven(real_engine, run)


def test_a_failing_step_says_why_and_what_to_do(real_engine, make_run):
    run = make_run(second={"fail": "the weights are upside down"})
    lifecycle.start(real_engine, run)
    assert names(lifecycle.attach(real_engine, run))[-1] == "StepFailed"
    state = run.state()
    assert (state.status, state.problem, state.hint) == ("failed", "second: the weights are upside down", "Do it better.")


def test_the_second_run_of_the_same_thing_takes_every_step_from_the_cache(real_engine, make_run):
    first = make_run()
    lifecycle.start(real_engine, first)
    list(lifecycle.attach(real_engine, first))
    second = make_run()
    lifecycle.start(real_engine, second)
    list(lifecycle.attach(real_engine, second))
    assert [step.cached for step in second.state().steps.values()] == [True, True, True]
    assert not (second.folder / "worked.txt").exists()


def test_a_changed_option_reruns_only_its_step(real_engine, make_run):
    for options in ({}, {"second": {"progress": 1}}):
        run = make_run(**options)
        lifecycle.start(real_engine, run)
        list(lifecycle.attach(real_engine, run))
    assert [step.cached for step in run.state().steps.values()] == [True, False, True]
