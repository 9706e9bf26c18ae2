"""What Azure ML says of the compute instance that we run on."""

from __future__ import annotations

import pytest

from tests.azure.arm import SUBSCRIPTION
from toolkit import settings
from toolkit.core.cloud import Workspace
from toolkit.core.guardian import before_a_run
from toolkit.errors import CloudError
from toolkit.wiring import make_workbench

LAB = Workspace(SUBSCRIPTION, "team", "lab")


def test_the_idle_shutdown_of_an_instance_is_known_in_minutes(signed_in):
    cloud = make_workbench(settings.load({})).cloud()
    assert cloud.idle_minutes(LAB, "gpu-box") == 30
    signed_in.cloud.resources.computes["gpu-box"].pop("idleTimeBeforeShutdown")
    assert cloud.idle_minutes(LAB, "gpu-box") == 0


def test_an_instance_that_it_does_not_know_is_an_error(signed_in):
    with pytest.raises(CloudError, match="another"):
        make_workbench(settings.load({})).cloud().idle_minutes(LAB, "another")


def test_before_a_run_azure_is_asked_after_how_long_this_instance_shuts_down(signed_in, tmp_path):
    bench = make_workbench(settings.load({"HOME": str(tmp_path), "EDGE_WORKSPACE": LAB.id, "EDGE_HOME": str(tmp_path / "home")}))
    environ = {"CI_NAME": "gpu-box", "CI_WORKSPACE": "lab"}
    [told] = before_a_run(bench, environ, tmp_path)
    assert told.startswith("gpu-box shuts down after 30 min 00 s of idleness")
    signed_in.cloud.resources.computes["gpu-box"].pop("idleTimeBeforeShutdown")
    assert before_a_run(bench, environ, tmp_path) == []
