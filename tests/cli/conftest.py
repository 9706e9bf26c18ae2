"""A desk for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.desk import Desk, make_program, write_project
from tests.services.fixtures import base_image, docker_engine_available, registry  # noqa: F401  fixtures


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, make_program(tmp_path / "program"))
    write_project(made.project)
    (tmp_path / "alive").mkdir()
    yield made
    made.leave()
