"""The doctor's checks, on machines made of environment variables, files and programs on the PATH."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gpu_files import CUDA13, Environment
from tests.tui.stage import Stage
from toolkit.cli.machine import wrapped
from toolkit.core import builds
from toolkit.core.checks import credentials, disk, engine, gpu, session
from toolkit.core.cuda_driver import Places
from toolkit.core.device import find
from toolkit.core.doctor import CHECKS, PASSING, Check, counted, examine, in_order, report, worst
from toolkit.core.files import Disk
from toolkit.core.finding import Finding, Scene
from toolkit.core.modelcheck import ModelFacts
from toolkit.core.recipe import load
from toolkit.core.sample import NEEDED_BYTES
from toolkit.core.workbench import Workbench
from toolkit.settings import CHECKOUT


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def scene(stage: Stage, **environ: str) -> Scene:
    """A machine of this folder: programs, kernel and driver are those in it."""
    return scene_of(stage.bench, stage.folder, **environ)


def scene_of(bench: Workbench, folder: Path, **environ: str) -> Scene:
    places = Places(str(folder), folder / "nvidia-version", str(folder / "libcuda.so.1"))
    return Scene(bench, {"HOME": str(folder), "PATH": str(folder), **environ}, places)


def program(stage: Stage, name: str, script: str) -> Path:
    path = stage.folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


SMI = """\
case "$1" in
    --query*) echo "NVIDIA H200, 580.159.04, 143771 MiB" ;;
    *) echo "| NVIDIA-SMI 580.159.04   Driver Version: 580.159.04   CUDA Version: {} |" ;;
esac"""


def test_findings_come_one_by_one_and_a_check_that_hangs_holds_up_no_other(stage: Stage) -> None:
    gate = threading.Event()
    checks = (
        Check("hung", lambda scene: gate.wait() and Finding("hung", "ok", "at last"), seconds=0.05),
        Check("quick", lambda scene: Finding("quick", "ok", "here")),
        Check("broken", lambda scene: 1 / 0),
    )
    findings = list(examine(stage.bench, checks))
    gate.set()
    assert [finding.level for finding in in_order(findings, checks)] == ["warning", "ok", "warning"]
    assert "no answer within 0.05 s" in in_order(findings, checks)[0].seen
    assert "ZeroDivisionError" in in_order(findings, checks)[2].seen


def test_whoever_no_longer_wants_to_know_does_not_wait(stage: Stage) -> None:
    gate = threading.Event()
    checks = (Check("hung", lambda scene: gate.wait(), seconds=3600),)
    assert list(examine(stage.bench, checks, leave=lambda: True)) == []
    gate.set()


def test_every_check_names_its_own_finding(stage: Stage) -> None:
    assert {finding.subject for finding in examine(stage.bench)} == {check.subject for check in CHECKS}


def test_the_worst_finding_is_told_first() -> None:
    findings = [Finding("a", "ok", ""), Finding("b", "warning", ""), Finding("c", "problem", ""), Finding("d", "warning", "")]
    assert worst(findings).subject == "c" and worst(findings[:1]) is None
    assert counted(findings) == "1 problem, 2 warnings" and counted([]) == "nothing is amiss"


def test_the_report_is_text_with_every_fix() -> None:
    text = report([Finding("disk", "warning", "1 GB free", "edge clean"), Finding("gpu", "ok", "none")], at=0)
    assert text == "edge doctor, 1970-01-01 00:00:00 UTC\n\n[warning] disk\n  1 GB free\n  fix: edge clean\n\n[ok] gpu\n  none\n"


def scene_with(stage: Stage, environment: Environment) -> Scene:
    """A machine with a local build environment that has this on its path."""
    python = program(stage, "python", f"echo {environment.folder}")
    return scene_of(replace(stage.bench, settings=replace(stage.settings, build_python=python)), stage.folder)


def test_without_a_driver_the_flavour_is_cpu(stage: Stage) -> None:
    assert "no NVIDIA driver here: CPU flavour" in gpu.flavour(scene(stage)).seen
    assert gpu.gpu(scene(stage)).level == "ok"


@pytest.mark.parametrize(
    ("cuda", "level", "said"),
    [
        ("13.0", "ok", "cuda13 and cuda12 (cuda12 works on this driver; cuda13 is better served"),
        ("12.4", "ok", "CUDA 12.4: cuda12"),
        ("11.4", "warning", "CPU flavour only"),
    ],
)
def test_the_driver_says_which_flavours_fit(stage: Stage, cuda: str, level: str, said: str) -> None:
    program(stage, "nvidia-smi", SMI.format(cuda))
    finding = gpu.flavour(scene(stage))
    assert finding.level == level and said in finding.seen


def test_a_driver_without_nvidia_smi_is_known_by_the_kernel(stage: Stage) -> None:
    (stage.folder / "nvidia-version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 2023\n")
    assert "driver 535.129.03 is loaded: cuda12" in gpu.flavour(scene(stage)).seen
    assert gpu.gpu(scene(stage)).level == "warning" and "libcuda.so.1 is missing" in gpu.gpu(scene(stage)).seen


def test_a_mix_in_the_local_environment_is_a_problem_with_the_command_that_mends_it(stage: Stage) -> None:
    program(stage, "nvidia-smi", SMI.format("13.0"))
    trap = Environment(stage.folder / "site").genai().onnxruntime("1.31.1", CUDA13).wheels().wheels(CUDA13[:3])
    finding = gpu.flavour(scene_with(stage, trap))
    assert finding.level == "problem" and "a mix: onnxruntime-gpu 1.31.1, linked to CUDA 13" in finding.seen
    assert f"{stage.folder}/pip install onnxruntime-gpu==1.26.0 onnxruntime-genai-cuda==0.14.1" in finding.fix


def test_a_local_environment_for_cuda_on_a_machine_without_a_gpu_is_a_problem(stage: Stage) -> None:
    finding = gpu.flavour(scene_with(stage, Environment.for_cuda12(stage.folder / "site")))
    assert finding.level == "problem" and "a consistent CUDA 12 set" in finding.seen and "NVIDIA driver" in finding.seen


def test_the_build_image_is_asked_what_it_sees(stage: Stage) -> None:
    assert "not built yet" in gpu.image(scene(stage)).seen
    tag = engine.build_image(scene(stage))
    list(stage.images.build(stage.folder, tag, "", {}, {}))
    stage.images.answers[tag] = (1, '{"level": "problem", "seen": "a mix", "fix": "Build it anew."}\n')
    assert gpu.image(scene(stage)) == Finding("build image", "problem", "a mix", "Build it anew.")
    stage.images.answers[tag] = (2, "run_steps.py: error: unrecognized arguments: --json\n")
    assert gpu.image(scene(stage)).level == "warning" and "unrecognized" in gpu.image(scene(stage)).seen


def test_what_is_looked_at_in_passing_starts_no_container() -> None:
    assert {check.subject for check in CHECKS} - {check.subject for check in PASSING} == {"build image"}


def test_an_engine_without_gpu_runtime_is_told(stage: Stage) -> None:
    program(stage, "nvidia-smi", SMI.format("13.0"))
    finding = gpu.gpu(scene(stage))
    assert finding.level == "warning" and "H200" in finding.seen and "nvidia-container-toolkit" in finding.fix


def test_a_driver_that_fails_is_told_in_its_own_words(stage: Stage) -> None:
    program(stage, "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    for check in (gpu.gpu, gpu.flavour):
        assert check(scene(stage)).level == "problem" and "version mismatch" in check(scene(stage)).seen


def test_an_engine_that_is_away_is_a_warning_and_a_problem_where_it_was_chosen(stage: Stage) -> None:
    stage.is_engine_down = True
    assert engine.engine(scene(stage)).level == "warning"
    chosen = Scene(replace(stage.bench, settings=replace(stage.settings, engine="docker")))
    assert engine.engine(chosen).level == "problem"


def test_a_build_environment_is_named_with_what_it_lacks(stage: Stage) -> None:
    python = program(stage, "python", "echo 'torch 2.13.0+cpu'; echo 'peft 0.21.2'")
    there = Scene(replace(stage.bench, settings=replace(stage.settings, build_python=python)))
    assert engine.build_environment(there).seen == "lacks olive-ai, transformers, onnxruntime"
    broken = program(stage, "broken", "exit 3")
    there = Scene(replace(stage.bench, settings=replace(stage.settings, build_python=broken)))
    assert engine.build_environment(there).level == "problem" and "does not run" in engine.build_environment(there).seen


def test_the_disk_is_held_against_the_largest_run_so_far(stage: Stage) -> None:
    stage.add_run(forecast_bytes=40_000_000_000)
    big = stage.add_run(forecast_bytes=200_000_000_000)
    finding = disk.disk(scene(stage))
    assert finding.level == "warning" and f"reckoned by {big.id}" in finding.seen and "200.5 GB" in finding.seen


def test_a_disk_too_small_for_the_sample_is_a_problem(stage: Stage) -> None:
    full = Scene(replace(stage.bench, disk=lambda path: Disk(1_000_000_000, 8_000_000_000)))
    finding = disk.disk(full)
    assert finding.level == "problem" and "too small for the next run" in finding.seen and "edge clean" in finding.fix


def test_what_the_doctor_says_of_the_sample_is_what_its_forecast_says() -> None:
    facts = ModelFacts(Path(), 134_515_008, 0, "LlamaForCausalLM", "F16", 30, 576, 49152, 8192, True, False)
    recipe = load(CHECKOUT / "data" / "recipes" / "travel.toml")
    forecast = builds.forecast(facts, recipe, [find(CHECKOUT / "data" / "devices", name) for name in recipe.devices])
    assert pytest.approx(forecast, rel=0.01) == disk.SAMPLE_RUN_BYTES
    assert disk.SAMPLE_MODEL_BYTES == NEEDED_BYTES


def test_logins_of_docker_are_named_and_no_secret_is(stage: Stage) -> None:
    config = {
        "auths": {"registry.example": {"auth": "c2VjcmV0OnNlY3JldA=="}},
        "credHelpers": {"x.azurecr.io": "acr-env"},
        "credsStore": "pass",
    }
    (stage.folder / "config.json").write_text(json.dumps(config))
    finding = credentials.registries(
        scene(stage, DOCKER_CONFIG=str(stage.folder), EDGE_REGISTRY_USERNAME="me", EDGE_REGISTRY_PASSWORD="hunter2")
    )
    assert finding.level == "ok"
    assert all(name in finding.seen for name in ("registry.example", "x.azurecr.io (acr-env)", "pass", "me"))
    assert "hunter2" not in finding.seen and "c2Vjc" not in finding.seen


def test_half_a_credential_is_told(stage: Stage) -> None:
    assert "EDGE_REGISTRY_PASSWORD is not" in credentials.registries(scene(stage, EDGE_REGISTRY_USERNAME="me")).seen
    azure = credentials.azure(scene(stage, AZURE_CLIENT_ID="an id", AZURE_CLIENT_SECRET="hunter2"))
    assert azure.level == "warning" and "lacking: AZURE_TENANT_ID" in azure.seen and "hunter2" not in azure.seen


def test_a_way_into_azure_that_is_there_is_named_and_none_is_asked(stage: Stage) -> None:
    (stage.folder / "edge-toolkit").mkdir()
    nobody = credentials.azure(scene(stage, HOME=str(stage.folder), PATH=str(stage.folder)))
    assert (nobody.level, nobody.fix) == ("ok", "Where Azure is wanted: `edge login`.") and "no az" in nobody.seen
    (stage.folder / "edge-toolkit" / credentials.ACCOUNT_FILE).write_text("{}")
    here = {"HOME": str(stage.folder), "PATH": str(stage.folder), "XDG_CONFIG_HOME": str(stage.folder)}
    by_code = credentials.azure(scene(stage, **here))
    assert "signed in by a code before" in by_code.seen and not by_code.fix
    machine = credentials.azure(scene(stage, HOME=str(stage.folder), PATH=str(stage.folder), MSI_ENDPOINT="http://127.0.0.1:1/"))
    assert "this machine has an identity" in machine.seen and not machine.fix


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": 7}'])
def test_a_damaged_docker_configuration_is_told(stage: Stage, content: str) -> None:
    (stage.folder / "config.json").write_text(content)
    assert "damaged" in credentials.registries(scene(stage, DOCKER_CONFIG=str(stage.folder))).seen


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "true colour"),
        ({"TERM": "screen-256color"}, "256 colours"),
        ({"TERM": "linux"}, "16 colours"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "no colours"),
    ],
)
def test_the_terminal_says_its_colours(environ: dict[str, str], said: str) -> None:
    assert said in session.colours(environ)


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        ({"LC_ALL": "C"}, "unset LC_ALL; export LANG=C.UTF-8"),
        ({"LC_CTYPE": "POSIX", "LANG": "C"}, "unset LC_CTYPE; export LANG=C.UTF-8"),
        ({}, "export LANG=C.UTF-8"),
    ],
)
def test_a_locale_without_utf8_gets_the_command_that_helps(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, environ: dict, command: str
) -> None:
    monkeypatch.setattr(session, "_size", lambda: os.terminal_size((120, 40)))
    finding = session.terminal(scene(stage, TERM="linux", **environ))
    assert finding.level == "warning" and finding.fix == f"`{command}`: lines and bars need UTF-8."


def test_long_findings_hang_under_their_beginning() -> None:
    text = wrapped(Finding("disk", "warning", "much too full " * 6, "`edge clean` " * 6), 60)
    lines = text.splitlines()
    assert lines[0].startswith("warning  disk               much too full") and max(map(len, lines)) <= 60
    assert all(line.startswith(" " * 28) for line in lines[1:]) and any("fix: `edge clean`" in line for line in lines)
