"""Whether what is installed runs on the GPU that is here, or would silently run on the CPU; and the fix.

Standard library only, and neighbours by relative import: build images copy this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .cuda_driver import NEEDED_RELEASE, Driver, Sight
from .cuda_stack import Stack, faults_of

ALLOW_CPU = "EDGE_ALLOW_CPU"
"""Set to 1, a build for CUDA may run on the CPU."""
NO_TOOLKIT = "nvidia-container-toolkit must be installed on the host, and the engine restarted after that."
BUILD_ANEW = "Build the image anew from its lock file: `edge clean --runtimes`, then run again."
SLOWER = "cuda12 works on this driver; cuda13 is better served: cuda12 decodes 16-18 % slower (measured on an H200)"


@dataclass(frozen=True)
class Verdict:
    """ok, warning or problem; what was seen, and what to do about it."""

    level: str
    seen: str
    fix: str = ""


def judge(stack: Stack, driver: Driver | None, sight: Sight | None, pip: str = "", is_container: bool = False) -> Verdict:
    """What the first run in this environment would meet. `pip` starts the command of a fix; an image has none."""
    faults = faults_of(stack, pip)
    if faults:
        fix = ", then ".join(fault.fix for fault in faults) if pip else BUILD_ANEW
        return Verdict("problem", "; ".join(fault.seen for fault in faults), fix)
    if stack.cuda:
        return _of_cuda(stack, driver, sight, pip, is_container)
    said = f"{stack}: the cpu flavour" if stack.runtimes else "no runtime library is installed"
    if sight and sight.gpus and driver and driver.flavours:
        trains = 0 < stack.cuda_of("torch") <= driver.major
        idle = "ONNX Runtime would compute on the CPU" if trains else "PyTorch and ONNX Runtime would compute on the CPU"
        return Verdict("warning", f"{said}; {driver}, but {idle}", f"For the GPU: {_other(driver, pip)}.")
    return Verdict("ok", said)


def _other(driver: Driver, pip: str) -> str:
    """The flavour that fits this driver, and how it is had."""
    best = driver.flavours[0]
    return f"the {best} flavour, `make build-env FLAVOUR={best}`" if pip else f"the {best} flavour"


def _of_cuda(stack: Stack, driver: Driver | None, sight: Sight | None, pip: str, is_container: bool) -> Verdict:
    whole = f"a consistent CUDA {stack.cuda} set ({stack})"
    if driver and driver.major and driver.major < stack.cuda:
        older = f", or take {_other(driver, pip)}" if driver.flavours else ""
        fix = f"Install a driver of release {NEEDED_RELEASE.get(stack.cuda, 'newer')} or newer{older}."
        return Verdict("problem", f"{whole}, but {driver}: CUDA would not start", fix)
    if sight is None or not sight.gpus:
        seen, fix = _blindness(driver, sight, is_container)
        return Verdict("problem", f"{whole}, but {seen}", fix)
    seen = f"{whole}; {driver}; {sight.gpus} GPU{'s' if sight.gpus > 1 else ''}"
    is_better_served = driver is not None and "cuda13" in driver.flavours and stack.cuda == 12
    return Verdict("ok", f"{seen}; {SLOWER}" if is_better_served else seen)


def _blindness(driver: Driver | None, sight: Sight | None, is_container: bool) -> tuple[str, str]:
    """Why no GPU can be used here, and the way out."""
    if sight is not None:
        return f"the driver gives no GPU: {sight.error}", when_refused(is_container)
    if is_container and driver is not None:
        seen = f"this container was not given the GPU: the host has NVIDIA {driver}, but libcuda.so.1 is not in here"
        return seen, f"Start it with `docker run --gpus all`. {NO_TOOLKIT}"
    if is_container:
        fix = f"With an NVIDIA GPU in the host: start it with `docker run --gpus all`; {NO_TOOLKIT} Without one: use the cpu flavour."
        return "no NVIDIA driver is visible in this container (no libcuda.so.1, no /proc/driver/nvidia)", fix
    if driver is not None:
        return f"{driver} and its library libcuda.so.1 is missing", "Reinstall the NVIDIA driver."
    return (
        "there is no NVIDIA driver here",
        "Install the NVIDIA driver; without a GPU, use the cpu flavour: `make build-env`, and EDGE_FLAVOUR=cpu.",
    )


def when_refused(is_container: bool) -> str:
    """The way out where the driver is there and lets nobody in."""
    if not is_container:
        return "Look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES; a machine whose driver was updated needs a restart."
    return (
        "Start the container anew with `--gpus all`. A running one loses its GPU when the host's systemd is reloaded; nvidia-container-toolkit"
        " with CDI devices (`nvidia-ctk cdi generate`) does not."
    )


def is_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
