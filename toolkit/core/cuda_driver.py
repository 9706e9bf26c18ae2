"""The NVIDIA driver as this process sees it: its release, the newest CUDA it runs, and the GPUs that it gives us.

Standard library only, and neighbours by relative import: build images copy this file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .machine import answer_of

SECONDS = 15.0
NEEDED_RELEASE = {13: 580, 12: 525}
"""The oldest driver release that runs programs linked against a CUDA of this number, by NVIDIA's table of compatibility."""
_CUDA = re.compile(r"CUDA(?: UMD)? Version\s*:\s*(\d+\.\d+)")
_RELEASE = re.compile(r"(?:Driver|KMD) Version\s*:\s*(\d+[\d.]*)")
_KERNEL_RELEASE = re.compile(r"^NVRM version:.*?\s(\d+\.\d+[\d.]*)\s", re.MULTILINE)
_ASK_LIBCUDA = """
import ctypes
try:
    cuda = ctypes.CDLL({name!r})
except OSError:
    raise SystemExit
version, gpus, said = ctypes.c_int(), ctypes.c_int(), ctypes.c_char_p(b"")
cuda.cuDriverGetVersion(ctypes.byref(version))
code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(gpus))
if code:
    cuda.cuGetErrorString(code, ctypes.byref(said))
print(version.value, gpus.value, code, (said.value or b"").decode())
"""


@dataclass(frozen=True)
class Places:
    """Where a driver shows itself."""

    path: str | None = None
    """The PATH that nvidia-smi is looked for on; None: ours."""
    kernel: Path = Path("/proc/driver/nvidia/version")
    library: str = "libcuda.so.1"

    def tool(self) -> str | None:
        return shutil.which("nvidia-smi", path=self.path)


@dataclass(frozen=True)
class Driver:
    """The driver that is loaded; a container sees it even where it was given no GPU."""

    release: str
    """Such as 580.159.04; empty where it is not told."""
    cuda: str
    """The newest CUDA it runs, such as 13.0; empty where it is not told."""

    @property
    def major(self) -> int:
        """Number of the newest CUDA that it runs; 0 where that is not told."""
        if self.cuda:
            return int(self.cuda.partition(".")[0])
        release = int(self.release.partition(".")[0] or 0)
        return next((cuda for cuda, needed in NEEDED_RELEASE.items() if release >= needed), 0)

    @property
    def flavours(self) -> tuple[str, ...]:
        """What it can run, the best first: its own CUDA and older ones."""
        return tuple(f"cuda{number}" for number in NEEDED_RELEASE if number <= self.major)

    def __str__(self) -> str:
        named = f"driver {self.release}" if self.release else "the driver"
        return f"{named} runs CUDA {self.cuda}" if self.cuda else f"{named} is loaded"


@dataclass(frozen=True)
class Sight:
    """What a program that starts now gets from the driver's library."""

    cuda: str
    gpus: int
    error: str = ""
    """Why there is no GPU, in the driver's words."""


def driver_here(places: Places | None = None) -> Driver | None:
    """The driver, by nvidia-smi; where that is missing, by the kernel and by the driver's library. None: there is none.

    Raises:
        OSError, subprocess.SubprocessError: nvidia-smi fails or hangs.
    """
    places = places or Places()
    if tool := places.tool():
        said = answer_of([tool], SECONDS)
        return Driver(_first(_RELEASE, said), _first(_CUDA, said))
    release, seen = kernel_release(places.kernel), sight(places)
    return Driver(release, seen.cuda if seen else "") if release or seen else None


def kernel_release(path: Path) -> str:
    """The release of the loaded kernel module; empty where there is none."""
    try:
        return _first(_KERNEL_RELEASE, path.read_text("utf-8", "replace"))
    except OSError:
        return ""


def sight(places: Places | None = None) -> Sight | None:
    """What libcuda says, asked in a process of its own, for a broken driver may hang or kill it. None: there is no libcuda."""
    code = _ASK_LIBCUDA.format(name=(places or Places()).library)
    try:
        said = answer_of([sys.executable, "-I", "-c", code], SECONDS).split(maxsplit=3)
    except (OSError, subprocess.SubprocessError) as exc:
        return Sight("", 0, f"asking it failed: {exc}")
    if not said:
        return None
    version, gpus, code, *words = said
    cuda = f"{int(version) // 1000}.{int(version) % 1000 // 10}"
    error = f"{' '.join(words).strip() or 'unknown error'} ({code})" if int(code) else ""
    return Sight(cuda, int(gpus), error or ("" if int(gpus) else "it knows no GPU"))


def failure(exc: Exception) -> str:
    """Why nvidia-smi could not be asked, in its own words."""
    if isinstance(exc, subprocess.TimeoutExpired):
        return f"nvidia-smi gives no answer within {exc.timeout:g} s"
    said = (getattr(exc, "stdout", "") or getattr(exc, "stderr", "") or "").strip().splitlines()[:1]
    return f"nvidia-smi fails: {' '.join(said) or exc}"


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
