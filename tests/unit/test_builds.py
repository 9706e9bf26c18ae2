"""From a recipe to the request of a run: what the build program is handed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.cli.desk import write_project, write_rows
from tests.fakes import FakeEngine
from toolkit import settings as settings_module
from toolkit.core.builds import prepare, start_build
from toolkit.wiring import make_workbench


def request_of(tmp_path: Path, quantize: str) -> tuple[Path, dict]:
    """(data folder, request) of a build of the small project with a [quantize] table."""
    write_project(tmp_path / "project")
    recipe = tmp_path / "project" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("[[adapters]]", f"[quantize]\n{quantize}\n\n[[adapters]]", 1))
    bench = replace(make_workbench(replace(settings_module.load({}), home=tmp_path / "home")), build_engine=lambda name: FakeEngine())
    run = start_build(bench, prepare(bench, recipe, print), print)
    return run.folder / "data", run.request


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def test_the_paragraphs_of_a_calibration_text_are_rows_of_their_own(tmp_path):
    (tmp_path / "text.txt").write_bytes("One line,\nanother.\r\n \r\nCafé\u2028au lait.\n\n\n".encode("utf-8-sig"))
    data, request = request_of(tmp_path, 'calibration = ["../text.txt"]')
    assert rows(data / "calibration.jsonl") == [{"text": "One line,\nanother."}, {"text": "Café\u2028au lait."}]
    assert request["steps"][0]["inputs"]["calibration"] == {"path": str(data / "calibration.jsonl")}


def test_calibration_rows_and_texts_lie_in_one_file(tmp_path):
    (tmp_path / "text.txt").write_text("A text.")
    write_rows(tmp_path / "rows.jsonl", {"prompt": "a", "response": "b"})
    data, _ = request_of(tmp_path, 'calibration = ["../text.txt", "../rows.jsonl"]')
    assert rows(data / "calibration.jsonl") == [{"text": "A text."}, {"prompt": "a", "response": "b"}]


def test_without_calibration_the_first_adapters_training_rows_serve(tmp_path):
    data, _ = request_of(tmp_path, 'algorithm = "awq"')
    assert rows(data / "calibration.jsonl") == rows(data / "travel.train.jsonl")
    assert len(rows(data / "travel.train.jsonl")) + len(rows(data / "travel.held_out.jsonl")) == 8
