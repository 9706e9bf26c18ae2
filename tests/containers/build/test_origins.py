"""What a build records of what it was made from and with."""

import hashlib
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parents[3] / "containers" / "build"


@pytest.fixture
def origins(monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAMS))
    import cache
    import origins

    yield origins, cache.ContentHashes
    for name in ("origins", "cache"):
        sys.modules.pop(name)


def step(**inputs: Path | str) -> dict:
    return {"inputs": {name: {"path": str(value)} if isinstance(value, Path) else {"step": value} for name, value in inputs.items()}}


def test_files_of_the_run_and_the_model_are_recorded_by_what_they_hold(origins, tmp_path):
    program, hashes = origins
    run, model = tmp_path / "0001-build", tmp_path / "model"
    (run / "data").mkdir(parents=True)
    model.mkdir()
    (run / "data" / "travel.train.jsonl").write_text("rows")
    (model / "config.json").write_text("{}")
    steps = [step(model=model, calibration=run / "data" / "travel.train.jsonl"), step(model="quantize", base=model)]
    found = program.inputs(run, steps, hashes(tmp_path / "hashes.json"))
    assert found["data/travel.train.jsonl"] == hashlib.sha256(b"rows").hexdigest()
    listed = f"config.json\0{2}\0{hashlib.sha256(b'{}').hexdigest()}\n"
    assert found["model"] == hashlib.sha256(listed.encode()).hexdigest()
    assert found.keys() == {"data/travel.train.jsonl", "model"}


def test_a_model_of_another_content_is_recorded_as_another_one(origins, tmp_path):
    program, hashes = origins
    (tmp_path / "model").mkdir()
    seen = set()
    for content in ("one", "two!"):
        (tmp_path / "model" / "w").write_text(content)
        seen.add(program.inputs(tmp_path / "run", [step(model=tmp_path / "model")], hashes(tmp_path / "h.json"))["model"])
    assert len(seen) == 2


def test_an_input_that_is_gone_since_is_left_out(origins, tmp_path):
    program, hashes = origins
    assert program.inputs(tmp_path / "run", [step(model=tmp_path / "gone")], hashes(tmp_path / "h.json")) == {}


def test_only_tools_that_are_installed_are_recorded(origins):
    program, _ = origins
    from importlib.metadata import distributions

    installed = {found.metadata["Name"].lower(): found.version for found in distributions()}
    assert program.tools() == {name: installed[name] for name in program.TOOLS if name in installed}
