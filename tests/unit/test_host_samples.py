"""Packaging and publishing leave the machine's figures too."""

from __future__ import annotations

import threading

from tests.tui.stage import Stage
from toolkit.core import events as ev
from toolkit.core import hoststeps
from toolkit.core.hoststeps import HostSteps, Job


def kinds(run) -> list[str]:
    return [type(event).__name__ for line in run.events_file.read_bytes().splitlines() if (event := ev.from_line(line))]


def wait_for_samples(job: Job) -> dict[str, float]:
    """A step that ends once the machine was sampled while it went on."""
    for _ in range(2000):
        if "MachineSampled" in kinds(job.run):
            return {}
        threading.Event().wait(0.01)
    raise AssertionError("nothing was sampled")


def test_a_host_step_is_sampled_and_nothing_comes_after_its_failure(tmp_path) -> None:
    stage = Stage(tmp_path)
    run = stage.add_run("publish", steps=("wait", "push"), options={"image_id": "none", "image": "none", "target": "x/y:1"})
    hoststeps.HANDLERS["wait"] = wait_for_samples
    try:
        assert not HostSteps(stage.bench, run, {}, sample_seconds=0.005).all_done()
    finally:
        del hoststeps.HANDLERS["wait"]
    assert "MachineSampled" in kinds(run) and kinds(run)[-1] == "StepFailed"
