"""What the doctor looks like."""

from __future__ import annotations

from textual.pilot import Pilot

from tests.tui.stage import LARGE, SMALL, Stage, text_of, until
from toolkit.core.doctor import Check
from toolkit.core.finding import Finding
from toolkit.tui.app import EdgeApp
from toolkit.tui.screens.doctor import DoctorScreen


def checks(*findings: Finding) -> tuple[Check, ...]:
    return tuple(Check(finding.subject, lambda scene, finding=finding: finding) for finding in findings)


PYTHON = Finding("python", "ok", "3.12.3 on x86_64, 8 CPUs, 16.0 GB")
ENGINE = Finding("engine", "ok", "Docker 27.3.1, API 1.47, overlay2, 8 CPUs, 16.0 GB; build image ready")
BUILD = Finding("build environment", "ok", "the local one is not installed", "`make build-env` installs it; the docker engine needs none.")
GPU = Finding("gpu", "ok", "no NVIDIA driver here: everything runs on the CPU")
FLAVOUR = Finding("cuda flavour", "ok", "no NVIDIA driver here: CPU flavour")
DISK = Finding("disk", "ok", "120.0 GB free at /srv/edge (next run: 1.5 GB); reckoned by the sample's recipe")
FINE = checks(PYTHON, ENGINE, BUILD, GPU, FLAVOUR, DISK)
AMISS = checks(
    PYTHON,
    Finding("engine", "problem", "No Docker engine answers here.", "Start it (`systemctl start docker`), or choose the local engine."),
    BUILD,
    Finding("gpu", "problem", "nvidia-smi gives no answer within 15 s", "Reinstall the NVIDIA driver, or restart the machine."),
    FLAVOUR,
    Finding(
        "disk", "warning", "/srv/edge is too small for the next run: 1.2 GB free (next run: 4.8 GB)", "`edge clean` shows what can go."
    ),
    Finding("lingering", "warning", "local runs may be ended when you log out", "`loginctl enable-linger`"),
)


def app_with(stage: Stage, chosen: tuple[Check, ...]) -> EdgeApp:
    app = stage.app()
    app.install_screen(DoctorScreen(stage.bench, chosen), "doctor")
    return app


def opened(*keys: str, text: str):
    async def before(pilot: Pilot) -> None:
        await pilot.press("6")
        await until(pilot, lambda: "to come" not in text_of(pilot.app) and "This machine" in text_of(pilot.app))
        await pilot.press(*keys)
        await until(pilot, lambda: text in text_of(pilot.app))

    return before


def test_a_machine_that_lacks_nothing(stage: Stage, snap_compare) -> None:
    assert snap_compare(app_with(stage, FINE), terminal_size=SMALL, run_before=opened(text="nothing is amiss"))


def test_a_machine_that_lacks_nothing_in_a_large_terminal(stage: Stage, snap_compare) -> None:
    assert snap_compare(app_with(stage, FINE), terminal_size=LARGE, run_before=opened("down", text="nothing is amiss"))


def test_a_machine_with_problems(stage: Stage, snap_compare) -> None:
    assert snap_compare(app_with(stage, AMISS), terminal_size=SMALL, run_before=opened("down", "down", "down", text="Fix: Reinstall"))
