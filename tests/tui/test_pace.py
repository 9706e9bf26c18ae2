"""Slow connections: how they are noticed, what changes, and what a person says about it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.cli.conftest import desk  # noqa: F401  fixture
from tests.cli.desk import Desk
from tests.terminal import Terminal
from tests.tui.stage import SMALL, Stage, text_of, until
from toolkit.tui.connection import ASK, RoundTrip, pace_for
from toolkit.tui.pace import NORMAL, SLOW

FAR = 0.25
"""A round trip in seconds, well above where slow begins."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def played(*seconds: float, answer: Callable[[RoundTrip], object] = lambda trip: trip.heard(2, 2)) -> tuple[list[str], list[float]]:
    """(what was written, what was told) by a terminal whose answers take so long."""
    written: list[str] = []
    told: list[float] = []
    clock = Clock()
    trip = RoundTrip(written.append, told.append, clock)
    trip.begin()
    for taken in seconds:
        clock.now += taken
        answer(trip)
    return written, told


def test_the_quickest_of_three_answers_counts():
    assert played(0.3, 0.02, 0.4) == ([ASK] * 3, [pytest.approx(0.02)])


def test_nothing_is_asked_before_the_last_question_is_answered_or_after_the_third():
    assert played() == ([ASK], [])
    assert len(played(1, 1, 1, 1)[0]) == 3


def test_the_key_f3_is_no_answer():
    assert played(0.1, 0.1, 0.1, answer=lambda trip: trip.heard(1, 2)) == ([ASK], [])


def test_a_tenth_of_a_second_is_slow():
    assert pace_for(0.1) is SLOW
    assert pace_for(0.09) is NORMAL


async def test_a_person_can_say_that_the_connection_is_slow_and_sees_it(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        assert "slow" not in text_of(pilot.app).splitlines()[0]
        pilot.app.action_change_pace()
        await until(pilot, lambda: text_of(pilot.app).splitlines()[0].endswith("slow"))
        assert pilot.app.pace is SLOW
        assert pilot.app.animation_level == "none"
        pilot.app.action_change_pace()
        await until(pilot, lambda: "slow" not in text_of(pilot.app).splitlines()[0])


@pytest.fixture
def open_edge(desk: Desk):  # noqa: F811
    """`edge` in a terminal, with arguments."""
    opened: list[Terminal] = []

    def open_it(*arguments: str, distance: float | None = 0.0, **environ: str) -> Terminal:
        terminal = Terminal(desk.argv(*arguments), desk.environ(EDGE_THEME="dark", **environ), distance=distance)
        opened.append(terminal)
        terminal.wait_for("6 Doctor")
        return terminal

    yield open_it
    for terminal in opened:
        terminal.__exit__()


def top_line(text: str) -> str:
    return text.splitlines()[0].rstrip()


def is_told_slow(text: str) -> bool:
    return top_line(text).endswith("slow")


def test_a_far_terminal_makes_the_pace_slow_by_itself(open_edge) -> None:
    open_edge(distance=FAR).wait_for(is_told_slow)


def test_a_near_terminal_keeps_the_pace(open_edge) -> None:
    terminal = open_edge()
    terminal.wait_for_answers(3)
    terminal.press("6")
    terminal.wait_for("[Doctor]")
    assert not is_told_slow(terminal.text)


def test_slow_can_be_asked_for_and_then_nothing_is_measured(open_edge) -> None:
    terminal = open_edge("--slow")
    terminal.wait_for(is_told_slow)
    assert terminal.answers == 0


def test_a_terminal_that_never_answers_is_taken_as_it_is(open_edge) -> None:
    terminal = open_edge(distance=None)
    terminal.press("6")
    terminal.wait_for("[Doctor]")
    assert not is_told_slow(terminal.text)


def test_answers_that_come_while_one_types_leave_no_junk_in_the_text(open_edge) -> None:
    terminal = open_edge(distance=FAR)
    terminal.press("ctrl+p")
    terminal.wait_for("Search")
    for letter in "slow conn":
        terminal.press(letter)
    terminal.wait_for(is_told_slow)
    terminal.wait_for("│ slow conn")
    assert "[2;2R" not in terminal.text
    assert "slow conn " in terminal.text


def test_the_palette_turns_slow_on_and_off(open_edge) -> None:
    terminal = open_edge()
    for wanted in ("on", "off"):
        terminal.press("ctrl+p")
        terminal.wait_for("Search")
        terminal.press(*"slow connection")
        terminal.wait_for(f"Slow connection: {wanted}")
        terminal.press("enter")
        terminal.wait_for(lambda text, wanted=wanted: is_told_slow(text) == (wanted == "on") and "Slow connection" not in text)


def test_coming_back_from_the_background_measures_anew(open_edge) -> None:
    terminal = open_edge()
    terminal.wait_for_answers(3)
    os.kill(terminal.pid, signal.SIGTSTP)
    terminal.wait_until_stopped()
    terminal.distance = FAR
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.wait_for(is_told_slow)
