"""The doctor's screen: findings as they come, fixes, and a report to send on."""

from __future__ import annotations

import threading

from textual.pilot import Pilot

from tests.tui.stage import SMALL, Stage, text_of, until
from tests.tui.test_doctor_pictures import AMISS, FINE, app_with
from toolkit.core.doctor import Check
from toolkit.core.finding import Finding


def shows(pilot: Pilot, *texts: str):
    return until(pilot, lambda: all(text in text_of(pilot.app) for text in texts))


async def test_a_check_that_hangs_leaves_the_others_to_be_read(stage: Stage) -> None:
    gate = threading.Event()
    hung = Check("gpu", lambda scene: gate.wait() and Finding("gpu", "ok", "answered at last"), seconds=3600)
    async with app_with(stage, (hung, *FINE[:2])).run_test(size=SMALL) as pilot:
        await pilot.press("6")
        await shows(pilot, "looking, 1 to come", "Docker 27.3.1")
        await pilot.press("down", "down")
        await shows(pilot, "engine: ok")
        gate.set()
        await shows(pilot, "answered at last", "nothing is amiss")


async def test_a_check_that_never_answers_is_told_in_its_time(stage: Stage) -> None:
    gate = threading.Event()
    hung = Check("gpu", lambda scene: gate.wait(), seconds=0.05)
    async with app_with(stage, (hung,)).run_test(size=SMALL) as pilot:
        await pilot.press("6")
        await shows(pilot, "warning  gpu", "no answer within 0.05 s", "1 warning")
        gate.set()


async def test_the_chosen_finding_is_shown_in_full_with_its_fix(stage: Stage) -> None:
    async with app_with(stage, AMISS).run_test(size=SMALL) as pilot:
        await pilot.press("6")
        await shows(pilot, "2 problems, 2 warnings")
        await pilot.press("end")
        await shows(pilot, "lingering: warning", "Fix: `loginctl enable-linger`")


async def test_looking_again_sees_what_was_put_right(stage: Stage) -> None:
    answers = [Finding("disk", "problem", "full"), Finding("disk", "ok", "plenty")]
    check = Check("disk", lambda scene: answers.pop(0))
    async with app_with(stage, (check,)).run_test(size=SMALL) as pilot:
        await pilot.press("6")
        await shows(pilot, "1 problem", "disk: problem")
        await pilot.press("r")
        await shows(pilot, "nothing is amiss", "plenty")


async def test_the_report_is_copied_whole(stage: Stage) -> None:
    async with app_with(stage, AMISS).run_test(size=SMALL, notifications=True) as pilot:
        await pilot.press("6")
        await shows(pilot, "2 problems, 2 warnings")
        await pilot.press("y")
        await shows(pilot, "Copied the report")
        assert "[problem] gpu\n  nvidia-smi gives no answer" in pilot.app.clipboard
        assert "fix: `loginctl enable-linger`" in pilot.app.clipboard


async def test_the_report_is_written_to_a_file_and_overwrites_none_unasked(stage: Stage) -> None:
    path = stage.folder / "report.txt"
    async with app_with(stage, AMISS).run_test(size=SMALL, notifications=True) as pilot:
        await pilot.press("6")
        await shows(pilot, "2 problems, 2 warnings")
        await pilot.press("w")
        await shows(pilot, "doctor-20260921-")
        await pilot.press("ctrl+u", *str(path), "enter")
        await until(pilot, path.exists)
        assert "[problem] gpu" in path.read_text()
        path.write_text("mine")
        await pilot.press("w")
        await shows(pilot, "which file?")
        await pilot.press("ctrl+u", *str(path), "enter")
        await shows(pilot, "is there already")
        await pilot.press("n")
        await until(pilot, lambda: "is there already" not in text_of(pilot.app))
        assert path.read_text() == "mine"


async def test_a_file_that_cannot_be_written_is_told(stage: Stage) -> None:
    (stage.folder / "file").write_text("")
    async with app_with(stage, FINE).run_test(size=SMALL) as pilot:
        await pilot.press("6")
        await shows(pilot, "nothing is amiss")
        await pilot.press("w")
        await shows(pilot, "which file?")
        await pilot.press("ctrl+u", *str(stage.folder / "file" / "report.txt"), "enter")
        await shows(pilot, "cannot be written")


async def test_escape_goes_back_to_the_runs(stage: Stage) -> None:
    async with app_with(stage, FINE).run_test(size=SMALL) as pilot:
        await pilot.press("6")
        await shows(pilot, "6[Doctor]")
        await pilot.press("escape")
        await shows(pilot, "1[Runs]")


async def test_a_path_longer_than_its_field_can_be_read(stage: Stage) -> None:
    deep = Stage(stage.folder / "a-rather-long-name-of-a-folder" / "and-another-one-that-is-long")
    async with app_with(deep, FINE).run_test(size=SMALL) as pilot:
        await pilot.press("6")
        await shows(pilot, "nothing is amiss")
        await pilot.press("w")
        await shows(pilot, "and-another-one-that-is-long/home/doctor-")
