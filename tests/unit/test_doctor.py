"""The doctor's checks, on machines made of environment variables, files and programs on the PATH."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tui.stage import Stage
from toolkit.core import builds
from toolkit.core.checks import credentials, disk, engine, gpu, session
from toolkit.core.device import find
from toolkit.core.doctor import CHECKS, Check, counted, examine, in_order, report, worst
from toolkit.core.files import Disk
from toolkit.core.finding import Finding, Scene
from toolkit.core.modelcheck import ModelFacts
from toolkit.core.recipe import load
from toolkit.core.sample import NEEDED_BYTES
from toolkit.settings import CHECKOUT


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def scene(stage: Stage, **environ: str) -> Scene:
    return Scene(stage.bench, {"HOME": str(stage.folder), "PATH": str(stage.folder), **environ})


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


def test_without_a_driver_the_flavour_is_cpu(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(stage.folder))
    assert "no NVIDIA driver here: CPU flavour" in gpu.flavour(scene(stage)).seen
    assert gpu.gpu(scene(stage)).level == "ok"


@pytest.mark.parametrize(
    ("cuda", "level", "said"),
    [("13.0", "ok", "cuda13 and cuda12"), ("12.4", "ok", "CUDA 12.4: cuda12"), ("11.4", "warning", "CPU flavour only")],
)
def test_the_driver_says_which_flavours_fit(stage: Stage, monkeypatch: pytest.MonkeyPatch, cuda: str, level: str, said: str) -> None:
    monkeypatch.setenv("PATH", str(stage.folder))
    program(stage, "nvidia-smi", SMI.format(cuda))
    finding = gpu.flavour(scene(stage))
    assert finding.level == level and said in finding.seen


def test_an_engine_without_gpu_runtime_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(stage.folder))
    program(stage, "nvidia-smi", SMI.format("13.0"))
    finding = gpu.gpu(scene(stage))
    assert finding.level == "warning" and "H200" in finding.seen and "nvidia-container-toolkit" in finding.fix


def test_a_driver_that_fails_is_told_in_its_own_words(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(stage.folder))
    program(stage, "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    for check in (gpu.gpu, gpu.flavour):
        assert check(scene(stage)).level == "problem" and "version mismatch" in check(scene(stage)).seen


@pytest.mark.parametrize(
    ("packages", "flavour"),
    [
        ({"torch": "2.13.0+cpu", "onnxruntime": "1.32.0"}, "cpu (torch +cpu, onnxruntime for CPU)"),
        ({"torch": "2.13.0+cu128", "onnxruntime-gpu": "1.32.0"}, "cuda12 (torch +cu128, onnxruntime-gpu)"),
        ({"torch": "2.13.0+cu130", "onnxruntime-genai-cuda": "0.14"}, "cuda13 (torch +cu130, onnxruntime-gpu)"),
    ],
)
def test_the_installed_flavour_is_told(packages: dict[str, str], flavour: str) -> None:
    assert gpu.flavour_of(packages) == flavour


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
