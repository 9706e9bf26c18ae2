"""The list of runs, looked at again and again."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict

import pytest

from tests.tui import homes
from tests.tui.stage import NOW, STEPS, Stage
from toolkit.core import events as ev
from toolkit.core.listing import Roster, Row, fits
from toolkit.core.possible import image_of, package_of, why_not_chat, why_not_delete, why_not_package, why_not_publish, why_not_resume


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def by_number(roster: Roster) -> dict[int, Row]:
    return {int(row.id.split("-")[0]): row for row in roster.rows()}


def test_a_second_look_sees_what_was_written_meanwhile(stage: Stage) -> None:
    roster, run = Roster(stage.bench), homes.running_build(stage)
    assert (before := roster.rows()[0]).progress == "1/5 finetune-travel"
    homes.done(run, "finetune-travel")
    run.append(ev.StepStarted(step="export-cpu"))
    after = roster.rows()[0]
    assert (after.progress, after.step, after.finished_steps) == ("2/5 export-cpu", "export-cpu", 2)
    assert after.share > before.share


def test_a_line_being_written_counts_once_it_is_whole(stage: Stage) -> None:
    roster, run = Roster(stage.bench), homes.running_build(stage)
    line = ev.to_line(ev.StepFinished(step="finetune-travel", seconds=3)).encode() + b"\n"
    for piece, finished in ((line[:20], 1), (line[20:], 2)):
        with open(run.events_file, "ab") as out:
            out.write(piece)
        assert roster.rows()[0].finished_steps == finished


def test_an_ended_run_is_read_once(stage: Stage) -> None:
    run = homes.finished_build(stage)
    roster = Roster(stage.bench)
    first = roster.rows()[0]
    seen = run.events_file.stat()
    run.events_file.write_bytes(b"x" * seen.st_size)  # were it read again, nothing would be left of it
    os.utime(run.events_file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert roster.rows()[0] is first


def test_a_run_that_takes_the_name_of_a_deleted_one_is_read_anew(stage: Stage) -> None:
    roster, run = Roster(stage.bench), homes.finished_build(stage)
    roster.rows()
    shutil.rmtree(run.folder)
    again = stage.add_run(steps=("quantize",), name="travel", age=60)
    assert again.id == run.id
    stage.drive(again)
    assert (roster.rows()[0].status, roster.rows()[0].total_steps) == ("running", 1)


def test_a_deleted_run_is_gone_and_a_new_one_is_there(stage: Stage) -> None:
    roster, first, second = Roster(stage.bench), homes.finished_build(stage), homes.finished_build(stage)
    roster.rows()
    shutil.rmtree(first.folder)
    third = homes.finished_build(stage)
    assert [row.id for row in roster.rows()] == [second.id, third.id]


def test_a_run_whose_driver_is_gone_is_settled(stage: Stage) -> None:
    roster, run = Roster(stage.bench), homes.running_build(stage)
    assert roster.rows()[0].status == "running"
    stage.engine.dies(run, 137, out_of_memory=True)
    assert (roster.rows()[0].status, roster.rows()[0].problem) == ("interrupted", "out of memory")


def test_a_run_of_an_engine_that_is_away_stays_as_last_seen_until_it_is_back(stage: Stage) -> None:
    roster, run = Roster(stage.bench), homes.running_build(stage)
    stage.engine.dies(run, 1)
    stage.is_engine_down = True
    row = roster.rows()[0]
    assert (row.status, row.problem) == ("running", "its engine cannot be asked: The Docker engine does not answer.")
    stage.is_engine_down = False
    assert (roster.rows()[0].status, roster.rows()[0].problem) == ("interrupted", "exit code 1")


def test_a_run_that_cannot_be_read_is_a_row_that_says_so_until_it_can(stage: Stage) -> None:
    roster, run = Roster(stage.bench), homes.finished_build(stage)
    request = run.folder / "request.json"
    whole = request.read_text()
    request.write_text("{")
    assert roster.rows()[0].status == "unreadable" and "is damaged" in roster.rows()[0].problem
    request.write_text(whole)
    assert roster.rows()[0].status == "finished"


def test_the_rest_of_a_run_is_told_by_how_long_its_steps_took_before(stage: Stage) -> None:
    homes.finished_build(stage)
    homes.running_build(stage)
    row = Roster(stage.bench).rows()[1]
    finetune = 80 * 140 / 40  # as fast as so far
    assert row.is_eta_whole and row.eta_seconds == pytest.approx(finetune + 96 + 4 + 61, abs=1)
    assert row.share == pytest.approx((134 + 421 / 3) / sum(homes.TOOK.values()))


def test_the_first_run_of_a_recipe_tells_only_how_long_its_step_takes(stage: Stage) -> None:
    homes.running_build(stage)
    row = Roster(stage.bench).rows()[0]
    assert not row.is_eta_whole and row.eta_seconds == pytest.approx(280, abs=1)
    assert row.share == pytest.approx((1 + 1 / 3) / 5)


def test_a_step_from_the_cache_tells_nothing_of_how_long_it_takes(stage: Stage) -> None:
    cached = stage.add_run()
    for step in STEPS:
        cached.append(ev.StepFinished(step=step, seconds=0.1, cached=True))
    cached.append(ev.RunFinished())
    homes.running_build(stage)
    assert not Roster(stage.bench).rows()[1].is_eta_whole


def test_a_run_just_requested_has_no_end_in_sight(stage: Stage) -> None:
    run = stage.add_run(age=1)
    stage.drive(run)
    assert Roster(stage.bench).rows()[0].eta_seconds is None


def test_sizes_come_when_they_are_weighed_and_an_ended_run_once(stage: Stage) -> None:
    roster, run = Roster(stage.bench), homes.finished_build(stage)
    assert roster.rows()[0].bytes is None
    assert roster.weigh()
    assert roster.rows()[0].bytes == sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    (run.folder / "more").write_bytes(bytes(1000))
    assert not roster.weigh()


def test_samples_of_the_machine_change_nothing_but_the_time(stage: Stage) -> None:
    run = homes.running_build(stage)
    before = run.state()
    run.append(ev.MachineSampled(at=NOW + 5, cpu=0.5, memory=1, memory_total=2))
    after = run.state()
    assert after.last_at == NOW + 5
    assert (after.steps, after.status) == (before.steps, before.status)
    run.append(ev.StepProgress(at=NOW + 6, step="finetune-travel", done=41, total=120, metrics={"loss": 1.0}))
    assert (run.state().last_at, run.state().steps["finetune-travel"].done) == (NOW + 6, 41)


def test_a_filter_wants_every_word_and_an_exclamation_mark_turns_it_around(stage: Stage) -> None:
    homes.one_of_each(stage)
    rows = Roster(stage.bench).rows()

    def found(wanted: str) -> list[str]:
        return [row.id[:4] for row in rows if fits(row, wanted)]

    assert found("") == found("!") == [row.id[:4] for row in rows]
    assert found("FINISHED package") == ["0002"]
    assert found("out of memory") == ["0005"]
    assert found("!finished") == ["0003", "0004", "0005", "0006", "0007", "0008"]
    assert found("!finished package") == ["0001", "0003", "0004", "0005", "0006", "0007", "0008"]


def test_what_can_be_done_with_a_run_and_why_the_rest_cannot(stage: Stage) -> None:
    homes.one_of_each(stage)
    rows = Roster(stage.bench).rows()
    build, package, failed, stopped, _, unreadable, running, _ = rows
    assert not any((why_not_package(build), why_not_chat(build, rows), why_not_publish(build, rows), why_not_delete(build)))
    assert why_not_resume(build) == "It has finished; there is nothing to resume."
    assert package_of(build, rows) is package and image_of(build, rows) == "edge-toolkit/travel-cpu:0001"
    assert not why_not_chat(package, rows) and "It is a package run" in why_not_package(package)
    assert not why_not_resume(failed) and image_of(failed, rows) == "edge-toolkit/travel-cpu:0001"
    assert not why_not_resume(stopped) and "only a finished one" in why_not_package(stopped)
    assert why_not_delete(running) == "It is under way: stop it first."
    assert "newer version" in why_not_delete(unreadable) and "newer version" in why_not_resume(unreadable)
    alone = [build]
    assert "package it first" in why_not_chat(build, alone) and "package it first" in why_not_publish(build, alone)


def test_a_package_that_is_a_local_folder_is_not_published(stage: Stage) -> None:
    build = homes.finished_build(stage)
    options = {"build": build.id, "device": "cpu", "engine": "local", "tag": "edge-toolkit/travel-cpu:0001"}
    run = stage.add_run("package", steps=("collect", "smoke"), options=options, engine="local")
    homes.done(run, "collect", "smoke")
    run.append(ev.RunFinished())
    rows = Roster(stage.bench).rows()
    assert "local folder" in why_not_publish(rows[0], rows) and not why_not_chat(rows[0], rows)


def test_rows_are_plain_values(stage: Stage) -> None:
    homes.one_of_each(stage)
    assert json.dumps([asdict(row) for row in Roster(stage.bench).rows()])
