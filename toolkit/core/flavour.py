"""Which flavour of the build image or environment fits this machine: for the CPU, for CUDA 12 or for CUDA 13."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Container
from dataclasses import dataclass

from toolkit.core import cuda_driver
from toolkit.core.cuda_driver import NEEDED_RELEASE, Driver
from toolkit.errors import EngineError

FLAVOURS = ("cpu", "cuda12", "cuda13")
AUTO = "auto"
GPU_RUNTIME = "nvidia"
"""What an engine calls its way to the GPU."""
NO_RUNTIME = "the engine has no GPU runtime"
INSTALL_RUNTIME = "Install nvidia-container-toolkit, restart the engine, then `edge doctor`"


@dataclass(frozen=True)
class Choice:
    """A flavour, and why it is that one."""

    flavour: str
    why: str

    @property
    def sentence(self) -> str:
        return f"Flavour {self.flavour}: {self.why}"

    @property
    def uses_gpu(self) -> bool:
        return self.flavour != "cpu"


@dataclass(frozen=True)
class Gpu:
    """What this machine has of a GPU's driver."""

    driver: Driver | None = None
    failure: str = ""
    """Why it cannot be asked."""

    @property
    def flavours(self) -> tuple[str, ...]:
        """What can run here, the best first."""
        return self.driver.flavours if self.driver else ()

    def __str__(self) -> str:
        return self.failure or (str(self.driver) if self.driver else "no NVIDIA driver here")


@functools.cache
def gpu_here() -> Gpu:
    """The driver of this machine, asked once."""
    try:
        return Gpu(cuda_driver.driver_here())
    except (OSError, subprocess.SubprocessError) as exc:
        return Gpu(failure=cuda_driver.failure(exc))


def for_engine(wanted: str, gpu: Gpu, runtimes: Container[str]) -> Choice:
    """The flavour of the build image, for an engine that has these runtimes.

    Raises:
        EngineError: the wanted one cannot run here.
    """
    if wanted == "cpu":
        return Choice("cpu", "as chosen")
    if wanted != AUTO:
        require_driver(wanted, gpu)
        if GPU_RUNTIME not in runtimes:
            raise EngineError(f"{wanted} was chosen, and {NO_RUNTIME}.", f"{INSTALL_RUNTIME}; or choose the cpu flavour.")
        return Choice(wanted, f"as chosen; {gpu}")
    if not gpu.flavours:
        return Choice("cpu", str(gpu))
    if GPU_RUNTIME not in runtimes:
        return Choice("cpu", f"{gpu}, but {NO_RUNTIME}. {INSTALL_RUNTIME}")
    return Choice(gpu.flavours[0], str(gpu))


def for_environment(wanted: str, gpu: Gpu, installed: Container[str]) -> str:
    """The flavour of the local build environment, where these are installed. Whether it runs here, the build program asks."""
    if wanted != AUTO:
        return wanted
    return next((flavour for flavour in gpu.flavours if flavour in installed), "cpu")


def require_driver(wanted: str, gpu: Gpu) -> None:
    """
    Raises:
        EngineError: the driver does not run this flavour; says which one it does.
    """
    if wanted in gpu.flavours:
        return
    needed = NEEDED_RELEASE[int(wanted.removeprefix("cuda"))]
    others = f"choose the {gpu.flavours[0] if gpu.flavours else 'cpu'} flavour"
    if gpu.failure:
        raise EngineError(f"{wanted} was chosen, and {gpu.failure}.", f"Put the driver right, or {others}.")
    raise EngineError(f"{wanted} was chosen, and {gpu}.", f"It needs an NVIDIA driver of release {needed} or newer; or {others}.")
