"""Watching a run: pictures that are few, whole and bounded, and go on through endings, resumes and dead engines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import FakeEngine, FakeImages
from toolkit.core import events as ev
from toolkit.core import lifecycle
from toolkit.core.curves import LIMIT
from toolkit.core.run import Run, fold
from toolkit.core.watch import MOMENTS, Picture, Watcher, watch
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing
from toolkit.settings import Settings


class Watching:
    """A watch in a thread of its own, as a screen holds it."""

    def __init__(self, engine: FakeEngine, run: Run, every: float = 0.0, is_engine_down: bool = False) -> None:
        self.pictures: list[Picture] = []
        self.engine, self.is_engine_down, self.asked = engine, is_engine_down, 0
        self._left = False
        bench = Workbench(
            Settings(home=run.folder.parents[1]), lambda _: self._up(), lambda _: engine, FakeImages, FakeImages, lambda *_: None
        )
        self.watcher, self.every = Watcher(bench, run), every
        self.come()

    def come(self) -> None:
        self._left = False
        arguments = (self.watcher, self.pictures.append, lambda: self._left, lambda: self.every)
        self.thread = threading.Thread(target=watch, args=arguments, daemon=True)
        self.thread.start()

    def _up(self) -> FakeEngine:
        self.asked += 1
        if self.is_engine_down:
            raise EngineMissing("It does not answer.", "Start it.")
        return self.engine

    @property
    def now(self) -> Picture:
        return self.pictures[-1] if self.pictures else Picture("")

    def leave(self) -> None:
        self._left = True
        self.thread.join(10)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


@pytest.fixture
def watching(engine, run):
    held: list[Watching] = []

    def begin(**wishes) -> Watching:
        held.append(Watching(engine, run, **wishes))
        return held[-1]

    yield begin
    for one in held:
        one.leave()


def trained(count: int, step: str = "finetune") -> list[ev.Event]:
    return [ev.StepProgress(step=step, done=n + 1, total=count, unit="steps", metrics={"loss": 3 / (n + 1)}) for n in range(count)]


def test_who_comes_late_sees_the_curve_from_the_first_point(engine, run, watching):
    lifecycle.start(engine, run)
    engine.says(run, ev.StepStarted(step="finetune"), *trained(50))
    watched = watching()
    until(lambda: watched.now.state.status == "running")
    curve = watched.now.curves["finetune", "loss"]
    assert (curve.xs[0], curve.xs[-1], curve.ys[0]) == (1, 50, 3)
    engine.says(run, *trained(60)[50:])
    until(lambda: watched.now.curves["finetune", "loss"].xs[-1] == 60)


def test_the_picture_adds_up_to_the_fold_of_all_events(engine, run, watching):
    lifecycle.start(engine, run)
    engine.says(run, ev.StepStarted(step="quantize"), *trained(30, "quantize"), ev.StepProgress(step="quantize", done=30, message="last"))
    engine.says(run, ev.StepFinished(step="quantize", seconds=3), ev.StepStarted(step="finetune"), *trained(5000))
    engine.finishes(run)
    watched = watching()
    until(lambda: watched.now.state.has_ending)
    assert watched.now.state == fold(run.events_file)


def test_a_backlog_of_many_events_comes_in_few_pictures_of_bounded_size(engine, run, watching):
    lifecycle.start(engine, run)
    with open(run.events_file, "a") as out:
        out.write(ev.to_line(ev.StepStarted(step="finetune")) + "\n")
        for number, event in enumerate(trained(100_000)):
            out.write(ev.to_line(event) + "\n")
            if number % 10 == 0:
                out.write(ev.to_line(ev.MachineSampled(at=number, cpu=0.5, memory=1, memory_total=2)) + "\n")
            if number % 20 == 0:
                out.write(ev.to_line(ev.ArtifactWritten(step="finetune", kind="report", path="x", bytes=number)) + "\n")
    watched = watching(every=0.1)
    until(lambda: watched.now.state.steps and watched.now.state.steps["finetune"].done == 100_000)
    last = watched.now
    assert len(last.curves["finetune", "loss"].xs) <= LIMIT + 1 and len(last.machine["cpu"].xs) <= LIMIT + 1
    assert last.curves["finetune", "loss"].xs[0] == 1 and last.curves["finetune", "loss"].xs[-1] == 100_000
    assert len(last.moments) == MOMENTS
    assert len(watched.pictures) < 1000


def test_who_comes_back_sees_all_of_it_at_once_without_reading_it_again(engine, run, watching):
    def done(picture: Picture) -> float:
        return picture.state.steps["finetune"].done if "finetune" in picture.state.steps else 0

    lifecycle.start(engine, run)
    engine.says(run, ev.StepStarted(step="finetune"), *trained(60))
    watched = watching()
    until(lambda: done(watched.now) == 60)
    watched.leave()
    engine.says(run, *trained(70)[60:])
    seen = len(watched.pictures)
    watched.come()
    until(lambda: done(watched.now) == 70)
    assert all(done(picture) >= 60 for picture in watched.pictures[seen:])


def test_nothing_new_is_told_nothing(engine, run, watching):
    lifecycle.start(engine, run)
    watched = watching()
    until(lambda: watched.now.state.status == "running")
    engine.says(run, ev.StepStarted(step="quantize"))
    until(lambda: watched.now.state.current)
    told = len(watched.pictures)
    asked_after = time.monotonic() + 0.5
    until(lambda: time.monotonic() > asked_after)
    assert len(watched.pictures) == told


def test_a_run_without_a_driver_is_settled_as_interrupted(engine, run, watching):
    lifecycle.start(engine, run)
    engine.says(run, ev.StepStarted(step="quantize"))
    watched = watching()
    until(lambda: watched.now.state.current)
    engine.dies(run, 137, out_of_memory=True)
    until(lambda: watched.now.state.status == "interrupted")
    assert watched.now.state.problem == "out of memory"
    assert run.state().status == "interrupted"


def test_an_ended_run_needs_no_engine(engine, run, watching):
    lifecycle.start(engine, run)
    engine.finishes(run)
    watched = watching()
    watched.is_engine_down = True
    until(lambda: watched.now.state.status == "finished")
    assert (watched.now.problem, watched.asked) == (None, 0)


def test_a_run_that_is_asked_for_again_is_followed_on(engine, run, watching):
    lifecycle.start(engine, run)
    engine.says(run, ev.StepStarted(step="quantize"), ev.StepFailed(step="quantize", error="no room"))
    engine.dies(run, 1)
    watched = watching()
    until(lambda: watched.now.state.status == "failed")
    lifecycle.resume(engine, run)
    until(lambda: watched.now.state.status == "running" and watched.now.state.requests == 2)
    engine.finishes(run)
    until(lambda: watched.now.state.status == "finished")


def test_a_run_just_asked_for_is_given_time(engine, run, watching):
    run.append(ev.RunRequested(run=run.id, kind="build", steps=("quantize",)))
    watched = watching()
    until(lambda: watched.now.state.status == "requested" and watched.asked)
    assert run.state().status == "requested"


def test_a_deleted_run_is_told_as_gone_and_left(engine, run, watching):
    lifecycle.start(engine, run)
    engine.finishes(run)
    watched = watching()
    until(lambda: watched.now.state.has_ending)
    lifecycle.remove(engine, run)
    until(lambda: watched.now.is_gone)
    until(lambda: not watched.thread.is_alive())


def test_an_engine_that_does_not_answer_is_a_problem_until_it_is_back(engine, run, watching):
    run.append(ev.RunRequested(at=1, run=run.id, kind="build", steps=("quantize",)))
    run.append(ev.StepStarted(at=2, step="quantize"))
    engine.alive[run.id] = -1  # a driver that has not taken the lock
    watched = watching(is_engine_down=True)
    until(lambda: watched.now.problem)
    assert (watched.now.problem.hint, watched.now.state.status) == ("Start it.", "running")
    watched.is_engine_down = False
    until(lambda: watched.now.problem is None)
    del engine.alive[run.id]
    until(lambda: watched.now.state.status == "interrupted")


def test_a_request_that_cannot_be_read_is_a_problem_and_not_an_empty_run(engine, run, watching):
    run.append(ev.RunRequested(at=1, run=run.id, kind="build", steps=("quantize",)))
    (run.folder / "request.json").write_text("{")
    watched = watching()
    until(lambda: watched.now.problem)
    assert "is damaged" in watched.now.problem.message


def test_leaving_ends_the_watch_and_leaves_the_run_alone(engine, run, watching, tmp_path: Path):
    lifecycle.start(engine, run)
    watched = watching()
    until(lambda: watched.pictures)
    watched.leave()
    assert not watched.thread.is_alive() and lifecycle.is_driven(engine, run)
