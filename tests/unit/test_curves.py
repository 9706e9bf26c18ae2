"""Curves stay small however many points come, and keep what matters of them."""

from __future__ import annotations

from toolkit.core import events as ev
from toolkit.core.curves import LIMIT, Curves, Track


def track_of(count: int, limit: int = LIMIT) -> Track:
    track = Track(limit)
    for number in range(count):
        track.add(number, {"loss": float(number)})
    return track


def test_a_short_curve_has_every_point():
    curve = track_of(10).curve("loss")
    assert curve.xs == curve.ys == tuple(range(10))


def test_a_million_points_stay_bounded_and_keep_the_first_and_the_last():
    curve = track_of(1_000_000).curve("loss")
    assert LIMIT / 2 <= len(curve.xs) <= LIMIT + 1
    assert (curve.xs[0], curve.xs[-1]) == (0, 999_999)


def test_the_points_that_stay_are_evenly_spread():
    xs = track_of(1000, limit=50).curve("loss").xs
    assert len({after - before for before, after in zip(xs[:-2], xs[1:-1], strict=True)}) == 1


def test_skipping_rows_that_are_not_due_draws_the_same_curve():
    track = Track(10)
    for number in range(100):
        if track.is_due:
            track.add(number, {"loss": float(number)})
        else:
            track.skip()
    track.ends_with(99, {"loss": 99.0})
    assert track.curve("loss") == track_of(100, limit=10).curve("loss")


def test_a_row_without_a_value_has_no_point_of_it():
    track = Track()
    track.add(1, {"loss": 3.0})
    track.add(2, {"rate": 1.0})
    assert (track.curve("loss").xs, track.curve("rate").xs) == ((1,), (2,))


def test_a_step_that_starts_again_draws_anew_once_it_measures():
    curves = Curves()
    curves.start("finetune")
    curves.add(ev.StepProgress(step="finetune", done=5, metrics={"loss": 3.0}))
    curves.start("finetune")
    assert curves.of_steps()["finetune", "loss"].xs == (5,)
    curves.add(ev.StepProgress(step="finetune", done=1, metrics={"loss": 2.0}))
    assert curves.of_steps()["finetune", "loss"].ys == (2.0,)


def test_a_step_kept_by_a_resume_keeps_its_curve():
    curves = Curves()
    curves.add(ev.StepProgress(step="finetune", done=5, metrics={"loss": 3.0}))
    curves.start("finetune")
    assert ("finetune", "loss") in curves.of_steps()


def test_the_machine_is_drawn_in_shares_and_without_a_graphics_processor_it_has_no_curve_of_one():
    curves = Curves()
    curves.sampled(ev.MachineSampled(at=7, cpu=0.5, memory=3, memory_total=4))
    drawn = curves.of_machine()
    assert set(drawn) == {"cpu", "memory"}
    assert (drawn["memory"].xs, drawn["memory"].ys) == ((7,), (0.75,))
