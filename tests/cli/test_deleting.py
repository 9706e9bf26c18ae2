"""`edge delete`: one run goes, after a word, and never one that is driven."""

from __future__ import annotations


def test_a_run_is_deleted_once_that_is_said(desk):
    assert desk.edge("run", desk.recipe).returncode == 0
    run = desk.run()
    asked = desk.edge("delete", "last")
    assert asked.returncode == 1 and f"Delete {run.id} (" in asked.stderr and "--yes" in asked.stderr
    assert run.folder.exists()
    done = desk.edge("delete", "last", "--yes")
    assert (done.returncode, done.stdout) == (0, "") and f"Deleted {run.id}." in done.stderr
    assert desk.runs() == [] and (desk.home / "cache").exists()


def test_a_run_under_way_is_not_deleted(desk):
    run = desk.run_until_it_waits()
    done = desk.edge("delete", run.id, "--yes")
    assert done.returncode == 5 and "is being driven" in done.stderr
    assert run.folder.exists()


def test_a_run_that_is_not_there_is_told(desk):
    assert desk.edge("delete", "7", "--yes").returncode == 5


def test_the_doctors_report_is_a_file_with_every_finding(desk):
    path = desk.folder / "report.txt"
    desk.edge("doctor", "--report", path)
    assert "[warning] engine" in path.read_text() and "] disk\n" in path.read_text()
