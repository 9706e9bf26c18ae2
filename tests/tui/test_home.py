"""Home: what a person sees of their runs, and what the keys do to them."""

from __future__ import annotations

import shutil

import pytest
from textual.pilot import Pilot

from tests.tui import homes
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from tests.tui.test_home_pictures import AMISS, app_over
from toolkit.core import events as ev
from toolkit.core.machine import Sample
from toolkit.tui.widgets.gauge import Steady, bar
from toolkit.tui.widgets.run_table import RunTable


def shows(pilot: Pilot, *texts: str):
    return until(pilot, lambda: all(text in text_of(pilot.app) for text in texts))


def hides(pilot: Pilot, text: str):
    return until(pilot, lambda: text not in text_of(pilot.app))


def line_of(pilot: Pilot, text: str) -> str:
    return next((line for line in text_of(pilot.app).splitlines() if text in line), "")


def table(pilot: Pilot) -> RunTable:
    return pilot.app.screen.query_one(RunTable)


async def test_a_run_is_a_line_with_step_progress_time_left_age_and_size(stage: Stage) -> None:
    homes.finished_build(stage)
    homes.running_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0002-build-travel", "kB")
        line = line_of(pilot, "0002-build-travel")
        assert all(text in line for text in ("running", "1/5 finetune-", "███░░░░", "7 min", "15 min"))


async def test_the_newest_run_is_first(stage: Stage) -> None:
    homes.one_of_each(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0008-build-persona")
        text = text_of(pilot.app)
        assert text.index("0008-") < text.index("0005-") < text.index("0001-")


async def test_a_run_moves_on_under_the_open_screen(stage: Stage) -> None:
    run = homes.running_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "1/5 finetune-")
        homes.done(run, "finetune-travel")
        run.append(ev.StepStarted(at=NOW, step="export-cpu"))
        await shows(pilot, "2/5 export-cpu")


async def test_a_run_started_elsewhere_appears_and_the_cursor_stays_on_its_run(stage: Stage) -> None:
    homes.finished_build(stage, name="first")
    homes.finished_build(stage, name="second")
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0002-build-second")
        await pilot.press("down")
        homes.finished_build(stage, name="third")
        await shows(pilot, "0003-build-third")
        assert table(pilot).chosen.id == "0001-build-first"


async def test_a_run_deleted_under_the_open_screen_is_gone(stage: Stage) -> None:
    first, second = homes.finished_build(stage), homes.finished_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, first.id, second.id)
        shutil.rmtree(second.folder)
        await hides(pilot, second.id)
        assert table(pilot).chosen.id == first.id
        shutil.rmtree(first.folder)
        await shows(pilot, "No runs yet")


async def test_the_cursor_keeps_its_line_in_a_long_list(stage: Stage) -> None:
    for number in range(40):
        homes.finished_build(stage, name=f"n{number}")
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0040-build-n39")
        await pilot.press("end", "up", "up")
        await shows(pilot, "0001-build-n0")
        before = text_of(pilot.app).splitlines().index(line_of(pilot, "►"))
        homes.finished_build(stage, name="new")
        await until(pilot, lambda: len(table(pilot).rows) == 41)
        await pilot.pause()
        assert "0003-build-n2" in line_of(pilot, "►")
        assert text_of(pilot.app).splitlines().index(line_of(pilot, "►")) == before


async def test_the_engine_goes_under_the_open_screen_and_comes_back(stage: Stage) -> None:
    homes.finished_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0001-build-travel")
        stage.is_engine_down = True
        await shows(pilot, "! The Docker engine does not answer", "systemctl start docker")
        stage.is_engine_down = False
        await hides(pilot, "does not answer")
        assert "0001-build-travel" in text_of(pilot.app)


async def test_a_filter_keeps_what_fits_and_an_exclamation_mark_what_does_not(stage: Stage) -> None:
    homes.one_of_each(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0001-build-travel")
        await pilot.press("slash", *"persona")
        await hides(pilot, "0001-build-travel")
        assert "0004-build-persona" in text_of(pilot.app)
        await pilot.press("home", "!", "enter")
        await hides(pilot, "0004-build-persona")
        assert "0001-build-travel" in text_of(pilot.app)
        await pilot.press("escape")
        await shows(pilot, "0004-build-persona", "0001-build-travel")


async def test_a_filter_that_nothing_fits_says_so(stage: Stage) -> None:
    homes.finished_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0001-build-travel")
        await pilot.press("slash", *"zzz")
        await shows(pilot, "No run fits 'zzz'")
        await pilot.press("escape")
        await shows(pilot, "0001-build-travel")


async def test_delete_asks_with_the_size_and_removes(stage: Stage) -> None:
    run = homes.finished_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "67 kB")
        await pilot.press("d")
        await shows(pilot, "Delete 0001-build-travel (67.", "kB)?")
        await pilot.press("n")
        await hides(pilot, "goes for good")
        assert run.folder.exists()
        await pilot.press("d", "y")
        await shows(pilot, "No runs yet", "Deleted 0001-build-travel")
        assert not run.folder.exists()


async def test_stop_asks_and_ends_the_run_and_resume_starts_it_again(stage: Stage) -> None:
    run = homes.running_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "finetune-")
        await pilot.press("s")
        await shows(pilot, "Stop 0001-build-travel?")
        await pilot.press("y")
        await until(pilot, lambda: "stopped" in line_of(pilot, "►0001"))
        await pilot.press("r")
        await until(pilot, lambda: "running" in line_of(pilot, "►0001"))
        assert stage.engine.starts == [run.id, run.id]


@pytest.mark.parametrize(
    ("key", "why"),
    [("r", "nothing to resume"), ("s", "It is not running; it is finished"), ("c", "package it first"), ("u", "package it first")],
)
async def test_a_key_that_does_not_fit_the_run_says_why(stage: Stage, key: str, why: str) -> None:
    homes.finished_build(stage)
    async with app_over(stage).run_test(size=LARGE, notifications=True) as pilot:
        await shows(pilot, "0001-build-travel")
        await pilot.press(key)
        await shows(pilot, why)


async def test_keys_that_need_a_run_say_so_in_an_empty_home(stage: Stage) -> None:
    async with app_over(stage).run_test(size=LARGE, notifications=True) as pilot:
        await shows(pilot, "No runs yet")
        await pilot.press("r")
        await shows(pilot, "There is no run yet")


async def test_a_deed_that_fails_is_told_and_the_list_lives_on(stage: Stage) -> None:
    homes.one_of_each(stage)
    stage.engine.refuses = "no GPU runtime"
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0005-build-travel")
        table(pilot).choose("0005-build-travel")
        await pilot.press("r")
        await shows(pilot, "! no GPU runtime")
        await pilot.press("escape")
        await hides(pilot, "! no GPU runtime")


async def test_a_publishing_run_resumes_only_with_its_password_which_is_kept_nowhere(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_REGISTRY_PASSWORD", raising=False)
    run = homes.failed_publish(stage, 60, username="anna")
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, run.id)
        await pilot.press("r")
        await shows(pilot, "Password of anna")
        await pilot.press(*"hunter2")
        assert "hunter2" not in text_of(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: stage.engine.starts == [run.id])
    assert [secrets for secrets in stage.secrets if secrets != b"{}"] == [b'{"username": "anna", "password": "hunter2"}']
    assert not any(b"hunter2" in path.read_bytes() for path in run.folder.rglob("*") if path.is_file())


async def test_a_publishing_run_whose_password_is_not_given_stays_as_it_is(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_REGISTRY_PASSWORD", raising=False)
    homes.failed_publish(stage, 60, username="anna")
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0001-publish-travel")
        await pilot.press("r")
        await shows(pilot, "Password of anna")
        await pilot.press("escape")
        await hides(pilot, "Password of anna")
        assert stage.engine.starts == []


async def test_a_password_of_the_environment_saves_the_question(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_REGISTRY_PASSWORD", "hunter2")
    run = homes.failed_publish(stage, 60, username="anna")
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, run.id)
        await pilot.press("r")
        await until(pilot, lambda: stage.engine.starts == [run.id])


async def test_a_finished_build_is_packaged_from_the_list(stage: Stage) -> None:
    build = homes.finished_build(stage)
    made = [{"step": "export-cpu", "path": "steps/export-cpu/out"}, {"step": "adapter-cpu-travel", "path": "steps/a/out"}]
    homes.write_manifest(build, made)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "0001-build-travel")
        await pilot.press("p")
        await shows(pilot, "0001-build-travel for cpu")
        await pilot.press("enter")
        await until(pilot, lambda: stage.engine.starts == ["0002-package-travel"])
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "RunScreen")


async def test_enter_and_a_double_click_open_the_run(stage: Stage) -> None:
    homes.finished_build(stage, name="first")
    homes.finished_build(stage, name="second")
    for deed in (lambda pilot: pilot.press("enter"), lambda pilot: pilot.click(RunTable, offset=(5, 2), times=2)):
        async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
            await shows(pilot, "0001-build-first")
            await deed(pilot)
            await until(pilot, lambda: type(pilot.app.screen).__name__ == "RunScreen")


async def test_a_run_that_cannot_be_read_says_why_instead_of_opening(stage: Stage) -> None:
    homes.one_of_each(stage)
    async with app_over(stage).run_test(size=LARGE, notifications=True) as pilot:
        await shows(pilot, "0006-build-elsewhere")
        table(pilot).choose("0006-build-elsewhere")
        await pilot.press("enter")
        await shows(pilot, "written by a newer version")


async def test_the_worst_finding_opens_the_doctor_by_key_and_by_click(stage: Stage) -> None:
    for deed in (lambda pilot: pilot.press("D"), lambda pilot: pilot.click("#doctor")):
        async with app_over(stage, AMISS).run_test(size=SMALL, notifications=True) as pilot:
            await shows(pilot, "1 problem, 1 warning: gpu: nvidia-smi fails")
            await deed(pilot)
            await shows(pilot, "6[Doctor]")


async def test_everything_is_on_the_screen_at_any_size(stage: Stage) -> None:
    homes.one_of_each(stage)
    async with app_over(stage).run_test(size=LARGE, notifications=True) as pilot:
        await shows(pilot, "0001-build-travel", "KIND")
        await pilot.resize_terminal(*SMALL)
        await hides(pilot, "KIND")
        assert all(len(line) <= 80 for line in text_of(pilot.app).splitlines())
        assert "interrupted" in line_of(pilot, "0005") and "kB" in line_of(pilot, "0005")


async def test_a_list_that_nothing_happens_to_is_not_drawn_again(stage: Stage) -> None:
    homes.finished_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "67 kB", "CPU", "Doctor")
        drawn = []
        table(pilot).refresh = lambda *regions, **options: drawn.append(regions)
        looks = pilot.app.screen._roster.looks
        await until(pilot, lambda: pilot.app.screen._roster.looks > looks + 1)
        assert not drawn


async def test_names_with_terminal_codes_are_drawn_without_them(stage: Stage) -> None:
    run = homes.running_build(stage)
    stage.engine.dies(run, 1)
    run.append(ev.StepFailed(at=NOW, step="finetune-travel", error="\x1b[31mred[/] [bold]\x07 \u202eback"))
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "[31mred[/] [bold]", "<U+202E>back")
        assert "\x1b" not in text_of(pilot.app) and "\x07" not in text_of(pilot.app)


def test_a_bar_is_full_only_at_the_end() -> None:
    assert [bar(share, 5) for share in (0, 0.01, 0.5, 0.99, 1)] == ["░░░░░", "█░░░░", "██░░░", "████░", "█████"]


def test_a_figure_stays_until_it_really_moves() -> None:
    steady = Steady(0.1)
    assert [steady.shown(value) for value in (0.5, 0.55, 0.45, 0.61, None, 0.6)] == [0.5, 0.5, 0.5, 0.61, None, 0.6]


async def test_the_machine_line_fits_with_graphics_processors(stage: Stage) -> None:
    homes.finished_build(stage)
    async with app_over(stage).run_test(size=SMALL, notifications=True) as pilot:
        await shows(pilot, "no GPU")
        line = pilot.app.screen.query_one("MachineLine")
        busy = Sample(0.4, 6_200_000_000, 16_000_000_000, 0.9, 70 << 30, 140 << 30)
        line.tell(busy, stage.bench.disk(stage.folder))
        await shows(pilot, "90% 75/150 GB", "120 GB free")


async def test_a_stopped_run_has_worked_in_the_step_that_was_under_way_too(stage: Stage) -> None:
    run = stage.add_run(age=900)
    homes.done(run, "quantize", at=NOW - 800)
    run.append(ev.StepStarted(at=NOW - 600, step="finetune-travel"))
    run.append(ev.RunStopped(at=NOW - 535))
    async with app_over(stage).run_test(size=SMALL) as pilot:
        await shows(pilot, "worked for 3 min 19 s")
