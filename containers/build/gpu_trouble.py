"""What a failed step's last words say of the GPU: that it went away, broke, or had too little memory. Standard library only.

The patterns are texts of the CUDA runtime (`cudaGetErrorString`), of PyTorch, of ONNX Runtime and of NVIDIA's tools.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from shared import cuda_driver, cuda_verdict, machine

LOST = (
    "no CUDA-capable device is detected", "CUDA-capable device(s) is/are busy or unavailable",
    "all CUDA-capable devices are busy or unavailable", "No CUDA GPUs are available", "GPU is lost", "fallen off the bus",
    "Failed to initialize NVML", "CUDA unknown error", "CUDA error: unknown error", "CUDA error: initialization error",
    "cudaErrorDevicesUnavailable", "cudaErrorNoDevice", "CUDA failure 46", "CUDA failure 100", "CUDA failure 999",
)  # fmt: skip
"""The GPU is no longer there, or no longer ours."""
BROKEN = (
    "uncorrectable ECC error encountered", "uncorrectable NVLink error", "Invalid access of peer GPU memory over nvlink",
    "hardware stack error", "NVRM: Xid",
)  # fmt: skip
"""The GPU itself reports a fault."""
MISUSED = (
    "device-side assert triggered", "an illegal memory access was encountered", "an illegal instruction was encountered",
    "misaligned address", "unspecified launch failure", "the launch timed out and was terminated",
)  # fmt: skip
"""A program on the GPU failed; the GPU works on for the next process."""
UNFIT = (
    "CUDA driver version is insufficient", "The NVIDIA driver on your system is too old", "forward compatibility was attempted",
    "unsupported display driver / cuda driver combination", "no kernel image is available for execution on the device",
)  # fmt: skip
"""Driver, libraries and GPU do not go together."""
FULL = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA failure 2: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "cudaErrorMemoryAllocation",
)
_ASKED_AND_FREE = re.compile(
    r"Tried to allocate ([\d.]+ \w+)\. GPU (\d+) has a total capaci?ty of ([\d.]+ \w+) of which ([\d.]+ \w+) is free"
)
LOWER = {
    "quantize": "quantize.sequence_length or quantize.calibration_samples",
    "finetune": "finetune.batch_size (and raise finetune.gradient_accumulation by as much), or data.max_tokens",
    "export": "export.context_length",
    "evaluate": "export.context_length or evaluate.max_new_tokens",
}
"""What makes each kind of step take less memory."""
ASKING_SECONDS = 10.0


@dataclass(frozen=True)
class Trouble:
    """What happened to the GPU, and the way out."""

    error: str
    hint: str


def trouble_in(text: str, kind: str, ask: Callable[[], str] | None = None) -> Trouble | None:
    """What `text` says of the GPU; None where it says nothing. `ask` tells what nvidia-smi says now."""
    if found := _first(FULL, text):
        return _memory(text, found, kind)
    if found := _first(LOST, text):
        return _lost(found, (ask or nvidia_smi_says)())
    if found := _first(BROKEN, text):
        hint = (
            "Resume to go on with the last finished step. If it comes again: `nvidia-smi -q`, `dmesg | grep Xid`, and restart the machine."
        )
        return Trouble(f"The GPU reported a fault of its own: {found}.", hint)
    if found := _first(MISUSED, text):
        hint = "Resume: the GPU works on for a new process. If it comes again at the same place, the data or a library is the cause: see the log."
        return Trouble(f"A program on the GPU failed: {found}.", hint)
    if found := _first(UNFIT, text):
        return Trouble(f"The driver, the CUDA libraries and the GPU do not go together: {found}.", "`edge doctor` says which flavour fits.")
    return None


def _first(patterns: tuple[str, ...], text: str) -> str:
    lowered = text.lower()
    return next((pattern for pattern in patterns if pattern.lower() in lowered), "")


def _memory(text: str, found: str, kind: str) -> Trouble:
    told = _ASKED_AND_FREE.search(text)
    error = f"The GPU has too little memory ({found})."
    if told:
        error = f"GPU {told[2]} has too little memory: {told[1]} more were needed, {told[4]} of {told[3]} were free."
    lower = f"Lower {LOWER[kind]}. " if kind in LOWER else ""
    return Trouble(error, f"{lower}See with `nvidia-smi` whether others use this GPU; then resume.")


def _lost(found: str, said: str) -> Trouble:
    """The GPU went away in the middle of the step."""
    error = f"The GPU went away during the step: {found}.{f' nvidia-smi now says: {said}' if said else ''}"
    if "Unknown Error" in said or "Failed to initialize NVML" in found:
        hint = f"Resume: a new container gets it back. {cuda_verdict.when_refused(is_container=True)}"
    elif said:
        hint = "Put the driver right (`nvidia-smi`, `dmesg | grep -i xid`; a GPU that fell off the bus needs a restart), then resume."
    else:
        hint = "Resume to go on with the last finished step. If it comes again: `edge doctor`, and `dmesg | grep -i xid`."
    return Trouble(error, hint)


def nvidia_smi_says() -> str:
    """Why nvidia-smi fails now; empty where it works or is not there."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    try:
        machine.answer_of([tool], ASKING_SECONDS)
    except (OSError, subprocess.SubprocessError) as exc:
        return cuda_driver.failure(exc).removeprefix("nvidia-smi fails: ")
    return ""
