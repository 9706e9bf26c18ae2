"""The fold, following a file that others write, run folders and their locks."""

from __future__ import annotations

import json
import threading

import pytest

from toolkit.core import events as ev
from toolkit.core.run import RunState, all_runs, find_run, fold, follow, new_run
from toolkit.errors import RunBusy, RunError, RunMissing, RunTooNew


def folded(*events):
    state = RunState()
    for event in events:
        state = state.after(event)
    return state


REQUESTED = ev.RunRequested(run="r", kind="build", steps=("quantize", "export"), at=1)


def test_a_run_goes_from_requested_to_finished():
    state = folded(REQUESTED, ev.RunStarted(driver="local"), ev.StepStarted(step="quantize", at=2))
    assert (state.status, state.current.name, state.finished_steps) == ("running", "quantize", 0)
    state = state.after(ev.StepFinished(step="quantize", seconds=3, metrics={"a": 1})).after(ev.RunFinished())
    assert (state.status, state.finished_steps, state.steps["export"].status) == ("finished", 1, "waiting")


def test_a_failed_step_ends_the_run_and_keeps_its_hint():
    state = folded(REQUESTED, ev.StepStarted(step="export"), ev.StepFailed(step="export", error="no room", hint="clean up"))
    assert (state.status, state.problem, state.hint) == ("failed", "export: no room", "clean up")


def test_an_interruption_after_an_ending_changes_nothing():
    ended = folded(REQUESTED, ev.RunStopped())
    assert ended.after(ev.RunInterrupted(reason="late")).status == "stopped"


def test_a_new_request_forgets_the_old_ending_but_not_the_artifacts():
    made = ev.ArtifactWritten(step="quantize", kind="model", path="steps/quantize/out", bytes=1)
    state = folded(REQUESTED, made, ev.RunInterrupted(reason="x"), REQUESTED)
    assert (state.status, state.requests, state.artifacts) == ("requested", 2, (made,))


def test_an_interrupted_step_waits_again():
    state = folded(REQUESTED, ev.StepStarted(step="quantize"), ev.RunInterrupted(reason="killed"))
    assert state.steps["quantize"].status == "waiting"


def test_progress_keeps_the_metrics_it_does_not_mention():
    state = folded(
        REQUESTED,
        ev.StepProgress(step="quantize", done=1, metrics={"loss": 2}),
        ev.StepProgress(step="quantize", done=2, metrics={"rate": 1}),
    )
    assert state.steps["quantize"].metrics == {"loss": 2, "rate": 1}


def test_the_fast_fold_agrees_with_the_plain_one(run):
    run.append(ev.StepStarted(step="quantize", at=0))
    for number in range(50):
        metrics = {"loss": number} if number % 7 == 0 else {}
        run.append(ev.StepProgress(step="quantize", done=number, total=50, unit="layers", metrics=metrics, at=number))
    run.append(ev.StepFinished(step="quantize", seconds=1, at=51))
    run.append(ev.StepProgress(step="export", done=7, at=52))
    slow = folded(*(ev.from_line(line) for line in run.events_file.read_bytes().splitlines()))
    assert fold(run.events_file) == slow
    assert (slow.steps["export"].done, slow.steps["quantize"].metrics) == (7, {"loss": 49})


def test_a_torn_last_line_is_not_judged(run):
    run.append(REQUESTED)
    with open(run.events_file, "ab") as torn:
        torn.write(ev.to_line(ev.RunFinished()).encode()[:-4])
    assert run.state().status == "requested"


def test_following_gives_every_event_once_and_stops_at_the_ending(run):
    run.append(REQUESTED)
    seen = []
    watcher = threading.Thread(target=lambda: seen.extend(follow(run, lambda: True)))
    watcher.start()
    for event in (ev.StepStarted(step="quantize"), ev.StepFinished(step="quantize", seconds=1), ev.RunFinished()):
        run.append(event)
    watcher.join(timeout=20)
    assert [type(event).__name__ for event in seen] == ["RunRequested", "StepStarted", "StepFinished", "RunFinished"]


def test_following_does_not_stop_at_an_old_ending_before_a_new_request(run):
    for event in (REQUESTED, ev.RunInterrupted(reason="x"), REQUESTED, ev.RunFinished()):
        run.append(event)
    assert len(list(follow(run, lambda: False))) == 4


def test_following_a_run_that_nobody_drives_ends_after_the_last_word(run):
    run.append(REQUESTED)
    assert list(follow(run, lambda: False)) == [REQUESTED]


def test_following_leaves_when_asked(run):
    run.append(REQUESTED)
    assert list(follow(run, lambda: True, leave=lambda: True)) == []


def test_a_line_written_in_two_halves_is_one_event(run):
    line = ev.to_line(ev.RunFinished(at=5)).encode() + b"\n"
    run.append(REQUESTED)
    halves = iter([line[:10], line[10:]])

    def alive() -> bool:
        if half := next(halves, b""):
            with open(run.events_file, "ab") as file:
                file.write(half)
        return True

    assert list(follow(run, alive))[-1] == ev.RunFinished(at=5)


def test_a_run_of_a_newer_version_is_refused_with_both_numbers(run):
    request = json.loads((run.folder / "request.json").read_text())
    (run.folder / "request.json").write_text(json.dumps({**request, "format": 99}))
    with pytest.raises(RunTooNew, match=r"format 99; this one reads up to 1"):
        run.state()


def test_a_damaged_request_says_so(run):
    (run.folder / "request.json").write_text('{"for')
    with pytest.raises(RunError, match=r"request\.json is damaged"):
        run.state()


def test_a_folder_without_a_request_is_no_run(tmp_path):
    (tmp_path / "0001-build-x").mkdir()
    with pytest.raises(RunMissing, match=r"has no request\.json"):
        all_runs(tmp_path)[0].state()


def test_the_lock_is_held_once_and_gone_with_its_holder(run):
    assert not run.is_locked()
    with run.locked():
        assert run.is_locked()
        with pytest.raises(RunBusy, match=f"Run {run.id} is being driven already"), run.locked():
            pass
    assert not run.is_locked()


def test_runs_are_numbered_in_order_and_found_by_number(tmp_path):
    made = [new_run(tmp_path, kind, "x", lambda _: {"steps": []}) for kind in ("build", "package", "publish")]
    assert [run.id for run in all_runs(tmp_path)] == ["0001-build-x", "0002-package-x", "0003-publish-x"]
    assert find_run(tmp_path, "2") == made[1]
    assert find_run(tmp_path, "last") == made[2]
    with pytest.raises(RunMissing, match="There is no run '9'"):
        find_run(tmp_path, "9")


def test_two_starts_at_once_get_two_numbers(tmp_path):
    makers = [threading.Thread(target=new_run, args=(tmp_path, "build", f"n{n}", lambda _: {"steps": []})) for n in range(12)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert sorted(int(run.id[:4]) for run in all_runs(tmp_path)) == list(range(1, 13))


def test_a_request_that_cannot_be_made_leaves_no_folder(tmp_path):
    def fail(_):
        raise RunError("no")

    with pytest.raises(RunError):
        new_run(tmp_path, "build", "x", fail)
    assert all_runs(tmp_path) == []


def test_the_parts_of_a_push_are_those_of_its_last_word(run):
    for done in (1, 2):
        run.append(ev.StepProgress(step="push", done=done, parts={"model": [done, 9]}))
    assert run.state().steps["push"].parts == {"model": [2, 9]}


def test_a_failed_step_keeps_the_kind_of_its_error(run):
    run.append(ev.StepFailed(step="push", error="no", cause="RegistryDenied"))
    assert run.state().steps["push"].cause == "RegistryDenied"
