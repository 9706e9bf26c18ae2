"""Before the long work: whether a build that is for CUDA would run on the GPU. Standard library only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from shared import cuda_driver, cuda_stack, cuda_verdict

ALLOW = f"To let it run on the CPU all the same, which may take many hours: set {cuda_verdict.ALLOW_CPU}=1."

PROBE_SECONDS = 120.0
_FAILED = re.compile(r"Failed to load.*|CUDA failure \d+: [^;\n]*[^;\s]")
_PROBE = """
import onnxruntime as ort
from onnx import TensorProto, helper
getattr(ort, "preload_dlls", lambda: None)()
one = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", [one("x")], [one("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = ort.InferenceSession(model.SerializeToString(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
print(session.get_providers()[0])
"""
"""ONNX Runtime takes the CPU with no more than a warning where its CUDA part does not load, so it is asked what it took."""


def installed() -> cuda_stack.Stack:
    """The runtime libraries of this Python."""
    return cuda_stack.look(map(Path, sys.path), cuda_stack.system_libraries())


def refusal(steps: Iterable[dict], stack: cuda_stack.Stack, environ: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """What is wrong and the way out, where work for CUDA would land on the CPU or fail at its end; None: go on."""
    devices = sorted({step["options"].get("device", "?") for step in steps if step["options"].get("provider") == "cuda"})
    if not (devices or stack.cuda) or environ.get(cuda_verdict.ALLOW_CPU) == "1":
        return None
    if not stack.cuda:
        error = f"The recipe is for {', '.join(devices)} (CUDA), and this build environment is for the CPU ({stack})."
        return error, f"Use a flavour for CUDA; `edge doctor` says which fits. Or leave {', '.join(devices)} out of the recipe's devices."
    try:
        verdict = cuda_verdict.judge(stack, cuda_driver.driver_here(), cuda_driver.sight(), is_container=cuda_verdict.is_container())
    except (OSError, subprocess.SubprocessError) as exc:
        return f"This build environment is {stack.flavour}, and {cuda_driver.failure(exc)}.", f"Put the driver right. {ALLOW}"
    if verdict.level == "problem":
        return f"This build would not run on a GPU: {verdict.seen}.", f"{verdict.fix} {ALLOW}"
    return fallback() if devices else None


def fallback() -> tuple[str, str] | None:
    """Where ONNX Runtime would silently compute on the CPU though all seems well: what it says, and the way out."""
    argv = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_SECONDS)
    except (OSError, subprocess.SubprocessError) as exc:
        return f"ONNX Runtime cannot be asked for CUDA: {exc}.", "`edge doctor` looks at the driver."
    if done.stdout.split()[-1:] == ["CUDAExecutionProvider"]:
        return None
    complaints = done.stderr + done.stdout.rpartition("CPUExecutionProvider")[0]
    error = f"CUDA was asked for, and ONNX Runtime would compute on the CPU: {_reason(complaints)}"
    return error, f"`edge doctor` holds its libraries against the driver. {ALLOW}"


def _reason(complaints: str) -> str:
    """What says why: the first that speaks of a failure, else the last line that is none of source."""
    if failed := _FAILED.search(complaints):
        return failed[0][:400]
    lines = [line for line in complaints.splitlines() if line[:1].isalnum() or line.startswith("/")]
    return lines[-1][-400:] if lines else "it does not say why"
