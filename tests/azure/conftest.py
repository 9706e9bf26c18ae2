"""The lab, once for all tests; nothing may leave it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.services.fixtures import missing

if TYPE_CHECKING:
    from tests.azure.lab import Lab


@pytest.fixture(scope="session")
def whole_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if importlib.util.find_spec("azure") is None:
        missing("The azure extra", "pip install -e '.[azure,test]'")
    if shutil.which("azurite-blob") is None:
        missing("Azurite", "run tests/services/up.sh as root, or npm install --global azurite")
    from tests.azure.lab import azure_lab

    with azure_lab(tmp_path_factory.mktemp("azure")) as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: Lab) -> Iterator[Lab]:
    """The lab, of which no request was for another host or unknown."""
    yield whole_lab
    refused, unknown = list(whole_lab.proxy.refused), list(whole_lab.cloud.unknown)
    whole_lab.proxy.refused.clear()
    whole_lab.cloud.unknown.clear()
    whole_lab.cloud.token_seconds = 3600
    assert (refused, unknown) == ([], [])
