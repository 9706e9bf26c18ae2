"""`edge run` and `edge doctor` on a compute instance of Azure ML, which its variables make of any machine."""

from __future__ import annotations

import json

INSTANCE = {"CI_NAME": "gpu-box", "CI_WORKSPACE": "lab"}


def test_a_run_on_a_compute_instance_begins_with_what_may_end_it(desk):
    done = desk.edge("run", desk.recipe, **INSTANCE)
    assert done.returncode == 0
    [told] = [line for line in done.stderr.splitlines() if "gpu-box" in line]
    assert told.startswith("warning: gpu-box shuts down when it has been idle for a while, where that is set")
    assert "Keep a terminal of Jupyter or VS Code open" in told


def test_elsewhere_a_run_begins_without_a_word_of_it(desk):
    done = desk.edge("run", desk.recipe)
    assert done.returncode == 0 and "shuts down" not in done.stderr


def test_while_a_run_goes_on_the_doctor_warns_of_the_shutdown(desk):
    run = desk.run_until_it_waits()
    found = json.loads(desk.edge("doctor", "--json", **INSTANCE).stdout)
    [finding] = [one for one in found if one["subject"] == "compute instance"]
    assert finding["level"] == "warning" and f"{run.id} is under way" in finding["seen"]
    assert "longer idle shutdown" in finding["fix"]
