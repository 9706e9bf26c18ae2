"""layers, export, remove and push --plan where no engine answers, or what is named is not there."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "command", [["layers", "x:1"], ["remove", "x:1"], ["push", "x:1", "--registry", "localhost/x", "--plan"], ["export", "x:1", "--plan"]]
)
def test_without_an_engine_it_says_how_to_start_one(desk, command):
    done = desk.edge(*command)
    assert done.returncode == 4 and "No Docker engine answers" in done.stderr and "systemctl start docker" in done.stderr


def test_a_malformed_target_is_told_though_no_engine_answers(desk):
    done = desk.edge("push", "x:1", "--registry", "travel", "--plan")
    assert done.returncode == 8 and "'travel' names no registry" in done.stderr


def test_an_export_into_nowhere_is_told_though_no_engine_answers(desk, tmp_path):
    done = desk.edge("export", "x:1", "-o", tmp_path / "nowhere" / "x.tar")
    assert done.returncode == 8 and "There is no folder" in done.stderr


def test_a_file_that_is_there_is_not_overwritten(desk, tmp_path):
    (tmp_path / "x.tar").write_text("mine")
    done = desk.edge("export", "x:1", "-o", tmp_path / "x.tar")
    assert done.returncode == 8 and "is there already" in done.stderr


def test_a_bill_of_materials_is_for_images_of_this_home(desk):
    done = desk.edge("sbom", "x:1")
    assert done.returncode == 8 and "This home has packaged no image 'x:1'" in done.stderr and done.stdout == ""


def test_an_export_without_a_file_to_write_says_so(desk):
    done = desk.edge("export", "x:1")
    assert done.returncode == 2 and "--output" in done.stderr
