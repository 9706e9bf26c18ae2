"""Steps that work on a GPU ask here first: nothing that was meant for CUDA may silently run on the CPU."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import cuda_gate
from shared import cuda_driver, cuda_stack, cuda_verdict
from step_io import StepError


def require_cuda(provider: str) -> None:
    """Make ready for ONNX Runtime GenAI on CUDA, which refuses where it cannot; for another provider there is nothing to do.

    Raises:
        StepError: CUDA was asked for, and what it needs is not there.
    """
    if provider != "cuda":
        return
    stack = cuda_gate.installed()
    if not stack.cuda:
        raise StepError(
            f"CUDA was asked for, and this build environment is for the CPU ({stack}).", "`edge doctor` says which flavour fits."
        )
    load_cuda_libraries(stack)


def load_cuda_libraries(stack: cuda_stack.Stack) -> None:
    """Load what ONNX Runtime is linked against out of NVIDIA's wheels, where the loader would not look by itself.

    Raises:
        StepError: one of them does not load.
    """
    todo = sorted({soname for runtime in stack.runtimes if runtime.name != "torch" for soname in runtime.needed})
    while todo:
        failed = [(soname, error) for soname in todo if (error := _load(stack.brought.get(soname, soname)))]
        if len(failed) == len(todo):
            raise StepError(f"{failed[0][0]} does not load: {failed[0][1]}", "`edge doctor` says what is wrong.")
        todo = [soname for soname, _error in failed]  # some load only after those that they need


def _load(library: Path | str) -> str:
    """Load one for everybody in this process; why it failed, else nothing."""
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError as exc:
        return str(exc)
    return ""


def require_torch_on_gpu() -> None:
    """Go on only if PyTorch works on the GPU, or the CPU is what was chosen: by the cpu flavour, or by EDGE_ALLOW_CPU=1.

    Raises:
        StepError: in an environment for CUDA, PyTorch would compute on the CPU.
    """
    stack = cuda_gate.installed()
    if not stack.cuda or os.environ.get(cuda_verdict.ALLOW_CPU) == "1":
        return
    import torch

    if torch.cuda.is_available():
        return
    error = f"PyTorch {torch.__version__} would compute on the CPU in an environment for {stack.flavour}: {_blindness(torch.version.cuda)}."
    raise StepError(error, cuda_gate.ALLOW)


def _blindness(linked: str | None) -> str:
    """Why PyTorch, linked against this CUDA, sees no GPU."""
    seen = cuda_driver.sight()
    if seen is None:
        return "no driver is visible"
    return seen.error or f"it is linked against CUDA {linked}, and the driver runs {seen.cuda}"
