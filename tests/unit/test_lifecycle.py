"""How runs live and survive, on an engine whose drivers are scripts."""

from __future__ import annotations

import threading

import pytest

from toolkit.core import events as ev
from toolkit.core import lifecycle
from toolkit.errors import EngineError, RunBusy, RunError


def names(events):
    return [type(event).__name__ for event in events]


def test_a_started_run_is_driven_and_followed_to_its_end(engine, run):
    lifecycle.start(engine, run)
    assert lifecycle.is_driven(engine, run)
    engine.finishes(run)
    assert names(lifecycle.attach(engine, run))[-1] == "RunFinished"
    assert run.state().status == "finished"


def test_a_run_is_not_driven_twice(engine, run):
    lifecycle.start(engine, run)
    with pytest.raises(RunBusy):
        lifecycle.start(engine, run)
    assert engine.starts == [run.id]


def test_an_engine_that_refuses_leaves_an_interrupted_run_that_says_why(engine, run):
    engine.refuses = "no GPU runtime"
    with pytest.raises(EngineError):
        lifecycle.start(engine, run)
    assert (run.state().status, run.state().problem) == ("interrupted", "the driver did not start: no GPU runtime")


def test_a_killed_driver_ends_the_run_as_interrupted(engine, run):
    lifecycle.start(engine, run)
    engine.dies(run, 137, out_of_memory=True)
    events = list(lifecycle.attach(engine, run))
    assert names(events)[-1] == "RunInterrupted"
    assert (run.state().status, run.state().problem) == ("interrupted", "out of memory")


def test_settling_twice_writes_one_ending(engine, run):
    lifecycle.start(engine, run)
    engine.dies(run, 1)
    watchers = [threading.Thread(target=lifecycle.settle, args=(engine, run, 0)) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    assert run.events_file.read_text().count("RunInterrupted") == 1


def test_a_run_just_requested_is_given_time_to_show_its_driver(engine, run):
    run.append(ev.RunRequested(run=run.id, kind="build"))
    assert lifecycle.settle(engine, run).status == "requested"
    assert lifecycle.settle(engine, run, grace_seconds=0).status == "interrupted"


def test_an_interrupted_run_is_resumed_and_finishes(engine, run):
    lifecycle.start(engine, run)
    engine.dies(run, 137)
    lifecycle.resume(engine, run)
    engine.finishes(run)
    assert (run.state().status, run.state().requests) == ("finished", 2)


def test_a_finished_run_has_nothing_to_resume(engine, run):
    lifecycle.start(engine, run)
    engine.finishes(run)
    with pytest.raises(RunError, match="nothing to resume"):
        lifecycle.resume(engine, run)


def test_stopping_ends_the_driver_and_says_so(engine, run):
    lifecycle.start(engine, run)
    assert lifecycle.stop(engine, run).status == "stopped"
    with pytest.raises(RunError, match="is not running; it is stopped"):
        lifecycle.stop(engine, run)


def test_a_driven_run_is_not_removed_and_an_ended_one_is(engine, run):
    lifecycle.start(engine, run)
    with pytest.raises(RunBusy):
        lifecycle.remove(engine, run)
    engine.finishes(run)
    lifecycle.remove(engine, run)
    assert not run.folder.exists()


def test_two_front_ends_see_the_same_events(engine, run):
    lifecycle.start(engine, run)
    seen = [[], []]
    watchers = [threading.Thread(target=lambda box=box: box.extend(lifecycle.attach(engine, run))) for box in seen]
    for watcher in watchers:
        watcher.start()
    engine.finishes(run)
    for watcher in watchers:
        watcher.join(timeout=20)
    assert seen[0] == seen[1] and names(seen[0])[-1] == "RunFinished"
