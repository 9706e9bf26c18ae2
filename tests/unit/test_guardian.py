"""On a compute instance of Azure ML: its disks, and what shuts it down under a run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tui.stage import Stage
from toolkit.core import guardian
from toolkit.core.checks.guardian import compute_instance
from toolkit.core.cloud import Workspace
from toolkit.core.files import Disk
from toolkit.core.finding import Scene
from toolkit.errors import EngineMissing, SignInError

LAB = Workspace("sub", "team", "lab")
GB = 10**9


class Clock:
    """A cloud that knows one thing."""

    def __init__(self, minutes: int | None) -> None:
        self.minutes = minutes
        self.asked: list[tuple[str, str]] = []

    def idle_minutes(self, workspace: Workspace, compute: str) -> int:
        self.asked.append((workspace.id, compute))
        if self.minutes is None:
            raise SignInError("Nobody is signed in to Azure here.", "`edge login`")
        return self.minutes


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The file system of an instance as Azure lays it out."""
    users = tmp_path / "root" / guardian.FILES / "gpu-box" / "code" / "Users"
    (users / "ada").mkdir(parents=True)
    named = {"subscription_id": LAB.subscription, "resource_group": LAB.group, "workspace_name": LAB.name}
    (users / "config.json").write_text(json.dumps(named))
    return tmp_path / "root"


def scene(stage: Stage, root: Path, minutes: int | None = 30, **environ: str) -> Scene:
    """With a large disk of its own."""
    clock = Clock(minutes)
    return Scene(replace(stage.bench, cloud=lambda: clock), {"PATH": "", **environ}, root=root, is_mount=lambda _: True)


def test_an_instance_is_known_by_its_files_and_knows_its_workspace(root):
    found = guardian.instance_here({}, root, is_mount=lambda _: True)
    assert found == guardian.Instance("gpu-box", LAB, root / "mnt", root / guardian.FILES)
    assert guardian.instance_here({}, root, is_mount=lambda _: False).temporary is None


def test_the_file_that_names_it_is_believed(tmp_path):
    named = tmp_path / guardian.NAMED
    named.parent.mkdir(parents=True)
    named.write_text("instance=gpu-box\ndomainsuffix=eastus.instances.azureml.ms\n")
    assert guardian.instance_here({}, tmp_path, is_mount=lambda _: False) == guardian.Instance("gpu-box")


def test_in_a_setup_script_it_is_known_by_its_variables_but_not_by_a_name_that_others_set_too(tmp_path):
    environ = {"CI_NAME": "gpu-box", "CI_WORKSPACE": "lab", "EDGE_WORKSPACE": "sub/team/lab"}
    assert guardian.instance_here(environ, tmp_path) == guardian.Instance("gpu-box", LAB)
    assert guardian.instance_here({"CI_NAME": "codeship"}, tmp_path) is None


def test_elsewhere_there_is_none_and_nobody_is_asked(stage, tmp_path):
    here = scene(stage, tmp_path)
    assert compute_instance(here).seen == "this is none of Azure ML's"
    assert guardian.before_a_run(here.bench, {}, tmp_path) == [] and here.bench.cloud().asked == []


def test_before_a_run_the_idle_shutdown_is_told_with_what_keeps_it_away(stage, root):
    here = scene(stage, root)
    [told] = guardian.before_a_run(here.bench, {}, root)
    assert "gpu-box shuts down after 30 min 00 s of idleness" in told and "neither that nor SSH counts" in told
    assert "Keep a terminal of Jupyter" in told and "`edge resume`" in told
    assert here.bench.cloud().asked == [(LAB.id, "gpu-box")]


def test_where_it_never_shuts_down_nothing_is_told(stage, root):
    assert guardian.before_a_run(scene(stage, root, 0).bench, {}, root) == []


def test_where_nobody_can_be_asked_it_is_told_as_not_known(stage, root):
    [told] = guardian.before_a_run(scene(stage, root, None).bench, {}, root)
    assert "where that is set" in told


def test_the_doctor_warns_only_while_a_run_goes_on(stage, root):
    here = scene(stage, root)
    calm = compute_instance(here)
    assert calm.level == "ok" and "30 min" in calm.seen
    run = stage.add_run()
    stage.drive(run)
    found = compute_instance(here)
    assert found.level == "warning" and f"{run.id} is under way" in found.seen and "Keep a terminal of Jupyter" in found.fix


def disks(stage: Stage, large: Path, free_there: int):
    shared = large.parent / guardian.FILES

    def disk(path: Path) -> Disk:
        is_there = path.is_relative_to(large) and not path.is_relative_to(shared)
        return Disk(free_there if is_there else 20 * GB, 120 * GB)

    return replace(stage.bench, disk=disk)


def test_a_larger_temporary_disk_is_offered_for_runs_and_engine_with_what_is_lost(stage, root):
    large = root / "mnt"
    instance = guardian.Instance("gpu-box", LAB, large)
    told = guardian.move_words(disks(stage, large, 600 * GB), instance, str(root / "var"))
    assert f"export EDGE_HOME={large / 'edge'}" in told and f'known["data-root"] = "{large / "docker"}"' in told
    assert "600.0 GB free" in told and "empties that disk" in told


def test_the_command_that_moves_the_engine_s_data_keeps_what_was_set(tmp_path):
    program = guardian.MERGE.format(root="/mnt/docker").partition("-c '")[2].partition("'")[0]
    file = tmp_path / "daemon.json"
    for before in ({"default-runtime": "nvidia"}, None):
        file.unlink(missing_ok=True)
        if before:
            file.write_text(json.dumps(before))
        subprocess.run([sys.executable, "-c", program.replace("/etc/docker/daemon.json", str(file))], check=True)
        assert json.loads(file.read_text()) == {**(before or {}), "data-root": "/mnt/docker"}


def test_a_small_temporary_disk_or_none_is_not_offered(stage, root):
    large = root / "mnt"
    assert guardian.move_words(disks(stage, large, 10 * GB), guardian.Instance("gpu-box", LAB, large), str(root / "var")) == ""
    assert guardian.move_words(stage.bench, guardian.Instance("gpu-box", LAB)) == ""


def test_what_lies_there_already_is_not_told_to_move(stage, root):
    large = root / "mnt"
    bench = disks(stage, large, 600 * GB)
    moved = replace(bench, settings=replace(bench.settings, home=large / "edge"))
    assert guardian.move_words(moved, guardian.Instance("gpu-box", LAB, large), str(large / "docker")) == ""


def test_the_files_of_the_workspace_are_no_part_of_the_disk_that_they_hang_in(stage, root):
    large, shared = root / "mnt", root / guardian.FILES / "gpu-box" / "code" / "Users" / "ada"
    bench = disks(stage, large, 600 * GB)
    here = replace(bench, settings=replace(bench.settings, home=shared), cloud=lambda: Clock(0))
    found = compute_instance(Scene(here, {"PATH": ""}, root=root, is_mount=lambda _: True))
    assert found.level == "warning" and "lies on the workspace's file share" in found.seen
    assert f"export EDGE_HOME={large / 'edge'}" in found.fix
    [told] = guardian.before_a_run(here, {}, root, lambda _: True)
    assert "no place for a run" in told


def test_runs_on_the_disk_that_is_emptied_are_told_so(stage, root):
    bench = disks(stage, root / "mnt", 600 * GB)
    there = replace(bench, settings=replace(bench.settings, home=root / "mnt" / "edge"), cloud=lambda: Clock(0))
    found = compute_instance(Scene(there, {"PATH": ""}, root=root, is_mount=lambda _: True))
    assert found.level == "ok" and "is emptied when the instance stops" in found.seen
    assert guardian.before_a_run(there, {}, root, lambda _: True) == [
        f"{root / 'mnt' / 'edge'} lies on the disk that is emptied when the instance stops: publish or copy away what shall stay."
    ]


def test_the_system_disk_is_forecast_with_what_lies_there(stage, root):
    stage.add_run(forecast_bytes=16 * GB)
    (stage.settings.cache / "step").mkdir(parents=True)
    (stage.settings.cache / "step" / "model.onnx").write_bytes(bytes(3_000_000))
    bench = replace(disks(stage, root / "mnt", 600 * GB), cloud=lambda: Clock(0), image_engine=no_engine)
    found = compute_instance(Scene(bench, {"PATH": ""}, root=root, is_mount=lambda _: True))
    assert "20.0 GB of 120.0 GB free on its system disk" in found.seen and "cache 3.0 MB" in found.seen
    assert found.level == "warning" and "3.5 GB after the next run" in found.seen and "EDGE_HOME" in found.fix


def no_engine():
    raise EngineMissing("None answers.", "Start one.")
