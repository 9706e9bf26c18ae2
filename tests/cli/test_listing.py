"""`edge runs` and its neighbours among runs that are damaged, of another version, or of an engine that is away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.core import events as ev
from toolkit.core.run import Run


def odd_run(desk, number: int, request: object, *events: ev.Event) -> Run:
    folder = desk.home / "runs" / f"{number:04d}-build-odd"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(request if isinstance(request, str) else json.dumps(request))
    for event in events:
        ev.append(folder, event)
    return Run(folder)


def request(engine: str = "local", **more: object) -> dict:
    return {"format": 1, "kind": "build", "engine": engine, "recipe": {"name": "odd"}, "steps": [], **more}


REQUESTED = ev.RunRequested(run="x", kind="build", steps=("quantize",), at=1.0)
STARTED = ev.StepStarted(step="quantize", at=2.0)
FINISHED = ev.RunFinished(at=3.0)


def rows(desk) -> dict[str, dict]:
    done = desk.edge("runs", "--json")
    assert done.returncode == 0, done.stderr
    return {row["id"].split("-")[0]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"format": 1, "kind": "bu', "request.json is damaged"),
        ("[]", "request.json is damaged"),
        ('{"format": 1}', "it is not whole"),
        ('{"format": 99, "kind": "dance"}', "was written by a newer version (format 99; this one reads up to 1)"),
    ],
)
def test_a_run_that_cannot_be_read_is_a_row_that_says_so(desk, content, problem):
    odd_run(desk, 1, request(), REQUESTED, FINISHED)
    odd_run(desk, 2, content)
    odd_run(desk, 3, request(), REQUESTED, FINISHED)
    listed = rows(desk)
    assert [listed[number]["status"] for number in ("0001", "0002", "0003")] == ["finished", "unreadable", "finished"]
    assert problem in listed["0002"]["problem"]
    for command in ("show", "attach", "resume"):
        done = desk.edge(command, "2")
        assert (done.returncode, done.stdout) == (5, "")
        assert problem in done.stderr
    assert "Traceback" not in desk.edge("images").stderr
    assert desk.edge("clean", "--runs", "--yes").returncode == 0
    assert [run.id for run in desk.runs()] == ["0002-build-odd"], "what cannot be read is not thrown away"


def test_a_folder_without_a_request_and_a_file_among_the_runs_are_rows(desk):
    (desk.home / "runs" / "0001-build-empty").mkdir(parents=True)
    (desk.home / "runs" / "0002-build-file").write_text("")
    assert {row["status"] for row in rows(desk).values()} == {"unreadable"}


def test_a_torn_last_line_and_lines_of_a_newer_version_spoil_only_themselves(desk):
    run = odd_run(desk, 1, request(), REQUESTED, FINISHED)
    before = run.events_file.read_bytes()
    run.events_file.write_bytes(before + b'{"type":"Danced","at":4.0}\n{"type":"RunRequ')
    assert rows(desk)["0001"]["status"] == "finished"
    assert len(desk.edge("attach", "1", "--json").stdout.splitlines()) == 2


def test_a_run_whose_driver_is_gone_is_told_as_interrupted(desk):
    odd_run(desk, 1, request(), REQUESTED, STARTED)
    row = rows(desk)["0001"]
    assert row["status"] == "interrupted" and "its driver is gone" in row["problem"]
    done = desk.edge("attach", "1")
    assert done.returncode == 1 and "edge resume 0001-build-odd" in done.stderr


def test_runs_of_an_engine_that_is_away_are_listed_as_last_seen(desk):
    away = odd_run(desk, 1, request("docker"), REQUESTED, STARTED)
    ended = odd_run(desk, 2, request("docker"), REQUESTED, FINISHED)
    listed = rows(desk)
    assert (listed["0001"]["status"], listed["0002"]["status"]) == ("running", "finished")
    assert "No Docker engine answers here" in listed["0001"]["problem"]
    shown = desk.edge("show", "1")
    assert shown.returncode == 0 and "its engine cannot be asked" in shown.stdout
    assert desk.edge("attach", "2").returncode == 0, "what has ended is read without its engine"
    assert desk.edge("attach", "1").returncode == desk.edge("stop", "1").returncode == 4
    assert [json.loads(line)["type"] for line in away.events_file.read_text().splitlines()] == ["RunRequested", "StepStarted"]
    assert desk.edge("clean", "--runs", "--cache", "--yes").returncode == 5
    assert Path(away.folder).exists() and ended.folder.exists()


def test_a_number_that_fits_no_run_and_an_empty_home_are_told(desk):
    done = desk.edge("runs")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No runs yet. Start one: edge run" in done.stderr
    assert json.loads(desk.edge("runs", "--json").stdout) == []
