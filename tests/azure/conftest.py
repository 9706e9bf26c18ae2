"""The lab, once for all tests, and a person in it; nothing may leave it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.desk import Desk, make_program, write_project
from tests.services.fixtures import missing

if TYPE_CHECKING:
    from tests.azure.lab import Lab


@pytest.fixture(scope="session")
def whole_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if importlib.util.find_spec("azure") is None:
        missing("The azure extra", "pip install -e '.[azure,test]'")
    if shutil.which("azurite-blob") is None:
        missing("Azurite", "run tests/services/up.sh as root")
    if shutil.which("docker-registry") is None:
        missing("docker-registry", "run tests/services/up.sh as root")
    with warnings.catch_warnings(action="ignore"):  # of how it uses marshmallow, by the dozen
        import azure.ai.ml  # noqa: F401

    from tests.azure.lab import azure_lab

    with azure_lab(tmp_path_factory.mktemp("azure")) as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """This process and its children are in the lab, as nobody in particular, with no programs but those in bin/.

    A request for another host fails the test, as does one that the lab does not know; a test that expects one removes it.
    """
    for name in os.environ:
        if name.startswith(("AZURE_", "MSI_", "IDENTITY_", "ARM_")):
            monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    for name, value in {**whole_lab.environ, "HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}.items():
        monkeypatch.setenv(name, value)
    whole_lab.reset()
    yield whole_lab
    assert (whole_lab.proxy.refused, whole_lab.cloud.unknown) == ([], [])


@pytest.fixture
def signed_in(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The lab, with a service principal in the environment."""
    from tests.azure.lab import SERVICE_PRINCIPAL

    for name, value in SERVICE_PRINCIPAL.items():
        monkeypatch.setenv(name, value)
    return lab


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A small project and its recipe; `aim_at` gives it a model of Azure's."""
    made = Desk(tmp_path, make_program(tmp_path / "program"))
    write_project(made.project)
    return made


def aim_at(desk: Desk, source: str) -> None:
    desk.recipe.write_text(desk.recipe.read_text().replace('"./model"', f'"{source}"'))
