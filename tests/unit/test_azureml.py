"""azureml:// addresses, and what is said where they are wrong or Azure's libraries are not there."""

from __future__ import annotations

import importlib.util

import pytest

from deploy.azureml import Asset, fetch_model, parse
from toolkit.errors import ModelError

WORKSPACE = (
    "azureml://subscriptions/11-22/resourceGroups/team/providers/Microsoft.MachineLearningServices/workspaces/lab/models/phi/versions/3"
)


def test_the_two_forms_of_an_address_are_read():
    assert parse("azureml://registries/azureml/models/Phi-4/versions/7") == Asset("Phi-4", "7", registry="azureml")
    of_workspace = Asset("phi", "3", subscription="11-22", group="team", workspace="lab")
    assert parse(WORKSPACE) == of_workspace
    assert parse(WORKSPACE.replace("/providers/Microsoft.MachineLearningServices", "")) == of_workspace


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


@pytest.mark.skipif(importlib.util.find_spec("azure") is not None, reason="Azure's libraries are installed here")
def test_without_the_extra_it_says_what_to_install(tmp_path):
    with pytest.raises(ModelError, match="Azure ML support is not installed") as raised:
        fetch_model(WORKSPACE, str(tmp_path / "model"))
    assert raised.value.hint == "pip install 'olive-edge-toolkit[azure]'"
    assert not (tmp_path / "model").exists()
