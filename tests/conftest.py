"""What tests share: a run to play with, and a home of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeEngine
from toolkit.core.run import Run, new_run

STEPS = [{"name": name, "kind": name, "options": {}, "inputs": {}} for name in ("quantize", "finetune", "export")]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A build of three steps that nobody has started."""
    return new_run(tmp_path / "runs", "build", "travel", lambda _: {"engine": "fake", "recipe": {"name": "travel"}, "steps": STEPS})
