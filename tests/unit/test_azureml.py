"""azureml:// addresses, and what is said where they are wrong or Azure's libraries are not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.azureml import Asset, parse
from toolkit.errors import ModelError
from toolkit.settings import CHECKOUT

WORKSPACE = (
    "azureml://subscriptions/11-22/resourceGroups/team/providers/Microsoft.MachineLearningServices/workspaces/lab/models/phi/versions/3"
)


def test_the_two_forms_of_an_address_are_read():
    assert parse("azureml://registries/azureml/models/Phi-4/versions/7") == Asset("Phi-4", "7", registry="azureml")
    of_workspace = Asset("phi", "3", subscription="11-22", group="team", workspace="lab")
    assert parse(WORKSPACE) == of_workspace
    assert parse(WORKSPACE.replace("/providers/Microsoft.MachineLearningServices", "")) == of_workspace


def test_latest_is_a_label_however_it_is_written():
    labelled = Asset("phi", label="latest", registry="azureml")
    assert parse("azureml://registries/azureml/models/phi/labels/latest") == labelled
    assert parse("azureml://registries/azureml/models/phi/versions/latest") == labelled
    assert str(labelled) == "phi, label latest, of registry azureml"


def test_a_version_need_not_be_a_number():
    assert parse("azureml://registries/azureml/models/phi/versions/2024-11-01.rc1").version == "2024-11-01.rc1"


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://",
        "azureml:phi:3",
        "azureml://models/phi",
        "azureml://registries/azureml/models/phi",
        "azureml://registries/azureml/data/phi/versions/1",
        "azureml://registries/azureml/models/phi/versions/1/extra",
        "azureml://subscriptions/1/workspaces/lab/models/phi/versions/3",
    ],
)
def test_what_names_no_model_is_refused_with_both_forms(uri):
    with pytest.raises(ModelError, match="names no Azure ML model") as raised:
        parse(uri)
    assert "azureml://registries/" in raised.value.hint and "azureml://subscriptions/" in raised.value.hint


def test_without_the_extra_it_says_what_to_install(tmp_path):
    """In an interpreter without site-packages: it has the standard library and this checkout."""
    code = "import sys; from deploy.azureml import fetch_model; fetch_model(None, sys.argv[1], sys.argv[2])"
    argv = [sys.executable, "-S", "-c", code, WORKSPACE, str(tmp_path / "model")]
    done = subprocess.run(argv, capture_output=True, text=True, env={"PYTHONPATH": str(CHECKOUT)})
    told = f"toolkit.errors.CloudMissing: Azure ML support is not installed. {sys.executable} -m pip install '{CHECKOUT}[azure]'"
    assert done.stderr.splitlines()[-1] == told
    assert not (tmp_path / "model").exists()
