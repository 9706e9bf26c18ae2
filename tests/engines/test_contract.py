"""What every BuildEngine owes a run: one set of tests for the fake, the local engine and Docker."""

from __future__ import annotations

import pytest

from tests.engines.conftest import KINDS, until
from toolkit.core import events as ev
from toolkit.core import lifecycle
from toolkit.errors import RunBusy


def names(events):
    return [type(event).__name__ for event in events]


def test_a_run_is_driven_to_its_end(any_engine, make_run):
    run = make_run()
    lifecycle.start(any_engine, run)
    events = list(lifecycle.attach(any_engine, run))
    assert names(events)[0] == "RunRequested" and names(events)[-1] == "RunFinished"
    assert [event.step for event in events if isinstance(event, ev.StepFinished)] == list(KINDS)
    until(lambda: not lifecycle.is_driven(any_engine, run))


def test_a_driven_run_refuses_a_second_driver(any_engine, make_run, gate):
    run = make_run(first={"wait_for": str(gate)})
    lifecycle.start(any_engine, run)
    until(lambda: (run.folder / "first.pid").exists())
    assert lifecycle.is_driven(any_engine, run)
    with pytest.raises(RunBusy):
        lifecycle.start(any_engine, run)
    lifecycle.stop(any_engine, run)


def test_stopping_ends_every_process_of_the_run(any_engine, make_run, gate):
    run = make_run(first={"wait_for": str(gate)})
    lifecycle.start(any_engine, run)
    until(lambda: (run.folder / "first.pid").exists())
    assert lifecycle.stop(any_engine, run).status == "stopped"
    until(lambda: not lifecycle.is_driven(any_engine, run))


def test_a_stopped_run_is_resumed_to_its_end(any_engine, make_run, gate):
    run = make_run(second={"wait_for": str(gate)})
    lifecycle.start(any_engine, run)
    until(lambda: (run.folder / "second.pid").exists())
    lifecycle.stop(any_engine, run)
    gate.write_text("open")
    lifecycle.resume(any_engine, run)
    assert names(lifecycle.attach(any_engine, run))[-1] == "RunFinished"


def test_a_failing_step_says_why_and_what_to_do(any_engine, make_run):
    run = make_run(second={"fail": "the weights are upside down"})
    lifecycle.start(any_engine, run)
    assert names(lifecycle.attach(any_engine, run))[-1] == "StepFailed"
    state = run.state()
    assert (state.status, state.problem, state.hint) == ("failed", "second: the weights are upside down", "Do it better.")


def test_what_is_forgotten_was_never_driven(any_engine, make_run):
    run = make_run()
    lifecycle.start(any_engine, run)
    list(lifecycle.attach(any_engine, run))
    until(lambda: not lifecycle.is_driven(any_engine, run))
    any_engine.forget(run)
    assert any_engine.exit_of(run) is None and not any_engine.is_alive(run)


def test_the_next_run_clears_away_the_container_of_one_that_ended(docker_engine, make_run):
    runs = [make_run(), make_run()]
    for run in runs:
        lifecycle.start(docker_engine, run)
        list(lifecycle.attach(docker_engine, run))
        until(lambda run=run: not lifecycle.is_driven(docker_engine, run))
    assert docker_engine.exit_of(runs[0]) is None and docker_engine.exit_of(runs[1]) is not None


def test_a_real_run_leaves_a_manifest_of_what_it_made(real_engine, make_run):
    run = make_run()
    lifecycle.start(real_engine, run)
    list(lifecycle.attach(real_engine, run))
    assert [artifact["step"] for artifact in run.manifest()["artifacts"]] == list(KINDS)
    assert (run.folder / "steps" / "first" / "out" / "result.txt").read_text() == "first"


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
