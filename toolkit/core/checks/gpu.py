"""Graphics processors: the driver, the engine's way to them, and which CUDA flavour fits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping

from toolkit.core.finding import Finding, Scene
from toolkit.core.machine import answer_of

DRIVER_SECONDS = 15.0
NO_DRIVER = "no NVIDIA driver here"
_CUDA = re.compile(r"CUDA(?: UMD)? Version\s*:\s*(\d+)\.(\d+)")


def gpu(scene: Scene) -> Finding:
    tool = shutil.which("nvidia-smi")
    if not tool:
        return Finding("gpu", "ok", f"{NO_DRIVER}: everything runs on the CPU")
    try:
        asked = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        seen = "; ".join(answer_of(asked, DRIVER_SECONDS).split("\n")).strip("; ")
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding("gpu", "problem", _failure(exc), "Reinstall the NVIDIA driver, or restart the machine after an update of it.")
    facts = scene.engine_or_none()
    if facts and "nvidia" not in facts.runtimes:
        fix = "Install nvidia-container-toolkit, then restart the engine."
        return Finding("gpu", "warning", f"{seen}; the engine has no GPU runtime", fix)
    return Finding("gpu", "ok", seen)


def flavour(scene: Scene) -> Finding:
    """Which flavours the driver can run, and which are installed."""
    has = _installed(scene)
    tool = shutil.which("nvidia-smi")
    if not tool:
        return Finding("cuda flavour", "ok", f"{NO_DRIVER}: CPU flavour{has}")
    try:
        found = _CUDA.search(answer_of([tool], DRIVER_SECONDS))
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding("cuda flavour", "problem", f"cannot be told, for {_failure(exc)}", "Put the driver right first.")
    if not found:
        return Finding("cuda flavour", "warning", f"nvidia-smi names no CUDA version{has}", "Update the NVIDIA driver.")
    fitting = flavours(int(found[1]))
    said = f"the driver runs CUDA {found[1]}.{found[2]}: {' and '.join(fitting) or 'CPU flavour only'}{has}"
    if not fitting:
        return Finding("cuda flavour", "warning", said, "CUDA flavours need a driver of release 525 or newer.")
    return Finding("cuda flavour", "ok", said)


def flavours(cuda: int) -> tuple[str, ...]:
    """What a driver of this CUDA version can run, the best first: its own version and older ones."""
    return tuple(f"cuda{version}" for version in (13, 12) if version <= cuda)


def _installed(scene: Scene) -> str:
    """The flavour of the local build environment, where it can be told."""
    if not scene.bench.settings.build_python.exists():
        return ""
    try:
        return f"; the local build environment is {flavour_of(scene.packages())}"
    except (OSError, subprocess.SubprocessError):
        return ""


def flavour_of(packages: Mapping[str, str]) -> str:
    """By what PyTorch says of itself (`+cu128`, `+cpu`), and by the name of ONNX Runtime's package."""
    torch = packages.get("torch", "").partition("+")[2]
    runtime = "onnxruntime-gpu" if "onnxruntime-gpu" in packages or "onnxruntime-genai-cuda" in packages else "onnxruntime for CPU"
    if torch.startswith("cu") and torch[2:4].isdigit():
        return f"cuda{torch[2:4]} (torch +{torch}, {runtime})"
    return f"cpu (torch {'+' + torch if torch else 'without a mark'}, {runtime})"


def _failure(exc: Exception) -> str:
    if isinstance(exc, subprocess.TimeoutExpired):
        return f"nvidia-smi gives no answer within {exc.timeout:g} s"
    said = (getattr(exc, "stdout", "") or getattr(exc, "stderr", "") or "").strip().splitlines()[:1]
    return f"nvidia-smi fails: {' '.join(said) or exc}"
