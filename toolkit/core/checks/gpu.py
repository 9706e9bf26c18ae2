"""Graphics processors: the driver, the engine's way to them, and whether what is installed would use them."""

from __future__ import annotations

import json
import subprocess

from toolkit.core.checks.engine import build_image, has_build_image
from toolkit.core.cuda_driver import SECONDS, Driver, Sight, failure
from toolkit.core.cuda_verdict import SLOWER, Verdict, is_container, judge
from toolkit.core.finding import LEVELS, Finding, Scene
from toolkit.core.machine import answer_of
from toolkit.errors import ToolkitError

NO_DRIVER = "no NVIDIA driver here"


def gpu(scene: Scene) -> Finding:
    tool = scene.places.tool()
    if not tool:
        return _without_tool(scene.driver(), scene.sight())
    try:
        asked = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        seen = "; ".join(answer_of(asked, SECONDS).split("\n")).strip("; ")
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding("gpu", "problem", failure(exc), "Reinstall the NVIDIA driver, or restart the machine after an update of it.")
    facts = scene.engine_or_none()
    if facts and "nvidia" not in facts.runtimes:
        fix = "Install nvidia-container-toolkit, then restart the engine."
        return Finding("gpu", "warning", f"{seen}; the engine has no GPU runtime", fix)
    return Finding("gpu", "ok", seen)


def _without_tool(driver: Driver | None, sight: Sight | None) -> Finding:
    if driver is None:
        return Finding("gpu", "ok", f"{NO_DRIVER}: everything runs on the CPU")
    if sight is None or not sight.gpus:
        seen = f"{driver}, but gives no GPU: {sight.error if sight else 'its library libcuda.so.1 is missing'}"
        return Finding("gpu", "warning", seen, "Reinstall the NVIDIA driver; in a container, start that with `--gpus all`.")
    return Finding("gpu", "ok", f"{driver}, {sight.gpus} GPU{'s' if sight.gpus > 1 else ''}; nvidia-smi is not installed")


def flavour(scene: Scene) -> Finding:
    """Which flavours the driver can run, and whether the local build environment would run on the GPU."""
    try:
        driver = scene.driver()
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding("cuda flavour", "problem", f"cannot be told, for {failure(exc)}", "Put the driver right first.")
    fitting, verdict = _fitting(driver), _of_local_environment(scene, driver)
    if verdict is None:
        return Finding("cuda flavour", fitting.level, fitting.seen, fitting.fix)
    worst = min(fitting, verdict, key=lambda one: LEVELS.index(one.level))
    seen = f"{fitting.seen}; the local build environment: {verdict.seen}"
    return Finding("cuda flavour", worst.level, seen, worst.fix or verdict.fix)


def _fitting(driver: Driver | None) -> Verdict:
    """What the driver can run, whatever is installed."""
    if driver is None:
        return Verdict("ok", f"{NO_DRIVER}: CPU flavour")
    if not driver.flavours:
        return Verdict("warning", f"{driver}: CPU flavour only", "CUDA flavours need a driver of release 525 or newer.")
    said = f"{driver}: {' and '.join(driver.flavours)}"
    return Verdict("ok", f"{said} ({SLOWER})" if len(driver.flavours) > 1 else said)


def _of_local_environment(scene: Scene, driver: Driver | None) -> Verdict | None:
    """Of the local build environment; None where there is none, or it does not run, which another check tells."""
    python = scene.bench.settings.build_python
    if not python.exists():
        return None
    try:
        stack = scene.stack()
    except (OSError, subprocess.SubprocessError):
        return None
    return judge(stack, driver, scene.sight(), f"{python.parent / 'pip'}", is_container())


def image(scene: Scene) -> Finding:
    """What the doctor inside the build image says, with the GPU where the engine can give it."""
    try:
        if not has_build_image(scene):
            return Finding("build image", "ok", "not built yet; the first build by the docker engine makes it")
        _code, said = scene.bench.image_engine().ask(build_image(scene), ["doctor", "--json"], gpu=scene.bench.flavour().uses_gpu)
    except ToolkitError as exc:
        return Finding("build image", "warning", exc.message, exc.hint)
    try:
        verdict = Verdict(**json.loads(said.strip().splitlines()[-1]))
    except (ValueError, TypeError, IndexError):
        return Finding(
            "build image", "warning", f"{build_image(scene)} gives no account of itself: {said.strip()[-200:] or 'it says nothing'}"
        )
    return Finding("build image", verdict.level, verdict.seen, verdict.fix)
