"""The GPU's share of a runtime image: ONNX Runtime's parts for CUDA, and of NVIDIA's libraries those that run.

A language model's graph calls cuBLAS, the CUDA runtime and, with CUDA 12, one reduction of cuDNN. cuFFT and cuRAND are named as
needed and not called: small stubs stand in for them. This was found by running models on a card with exactly this set.
Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cuda_stubs
from cuda_stubs import Stub

if TYPE_CHECKING:
    from origins import Origins
    from wheels import Shelf

DRIVER = "libcuda.so.1"
"""Of the machine that the image runs on."""
NO_DEVICE = 100
"""What the driver answers where there is no GPU."""
CUFFT_NOT_SUPPORTED = 16
"""What cuFFT answers to what it cannot do."""
PROVIDERS = "onnxruntime/capi/libonnxruntime_providers_{}.so"
GENAI = "onnxruntime_genai/libonnxruntime-genai-cuda.so"
NOTICES = ("*.dist-info/METADATA", "*.dist-info/*icense.txt")
"""NVIDIA's licence asks to be passed on; by the other one scanners know the release."""
LISTED = "set.json"
"""In the folder of the libraries: what runs with them, and what they are. The server's gpu_gate reads it."""


@dataclass(frozen=True)
class Kernels:
    """The GPUs that ONNX Runtime brings compiled code for."""

    compiled: tuple[str, ...]
    """Compute capabilities. Code for one also runs on those of the same first number and a higher second."""
    newer: bool
    """The driver can compile it for GPUs newer than all of these."""


@dataclass(frozen=True)
class CudaSet:
    """What one CUDA takes."""

    cuda: int
    driver: int
    """The oldest release of the driver that runs it."""
    libraries: Mapping[str, tuple[str, ...]]
    """Sonames, by the wheel that has them; what another one is linked to stands before it, for they are opened in this order."""
    stubs: tuple[Stub, ...]
    kernels: Kernels
    """Read from the fatbins of libonnxruntime_providers_cuda.so."""


SETS = {
    "cuda12": CudaSet(
        cuda=12,
        driver=525,
        libraries={
            "nvidia-cublas-cu12": ("libcublasLt.so.12", "libcublas.so.12"),
            "nvidia-cuda-runtime-cu12": ("libcudart.so.12",),
            "nvidia-cudnn-cu12": ("libcudnn_graph.so.9", "libcudnn_ops.so.9", "libcudnn.so.9"),
        },
        stubs=(Stub("libcufft.so.11", CUFFT_NOT_SUPPORTED), Stub("libcurand.so.10")),
        kernels=Kernels(("6.0", "7.0", "7.5", "8.0", "8.6", "9.0"), newer=True),
    ),
    "cuda13": CudaSet(
        cuda=13,
        driver=580,
        libraries={"nvidia-cublas": ("libcublasLt.so.13", "libcublas.so.13"), "nvidia-cuda-runtime": ("libcudart.so.13",)},
        stubs=(Stub("libcufft.so.12"), Stub("libcurand.so.10")),
        kernels=Kernels(("7.5", "8.0", "8.6", "8.9", "9.0", "12.0"), newer=False),
    ),
}


def lay_out(flavour: str, shelf: Shelf, packages: Path, libraries: Path, origins: Origins) -> None:
    """ONNX Runtime's parts beside its other libraries in `packages`, NVIDIA's libraries flat in `libraries`.

    Raises:
        StubError: a library that was left out is called after all.
    """
    chosen = SETS[flavour]
    linked = _take_onnxruntime(shelf, packages)
    for project, sonames in chosen.libraries.items():
        shelf.take(project, tuple(f"*/{soname}" for soname in sonames), libraries, flat=True)
        shelf.take(project, NOTICES, libraries)
    for stub in chosen.stubs:
        origins.made_here(cuda_stubs.write(stub, libraries, linked), f"a stub: nothing that runs calls {stub.soname}")
    listed = libraries / LISTED
    listed.write_text(json.dumps(describe(chosen), indent=1) + "\n")
    origins.made_here(listed, "the list of these libraries")


def describe(chosen: CudaSet) -> dict:
    """What gpu_gate is told of a set."""
    return {
        "cuda": chosen.cuda,
        "driver": chosen.driver,
        "libraries": [soname for names in chosen.libraries.values() for soname in names],
        "stubs": [stub.soname for stub in chosen.stubs],
        "kernels": asdict(chosen.kernels),
    }


def stand_in_for_driver(folder: Path, packages: Path) -> None:
    """A driver's library that knows no GPU, for the load test alone: with CUDA 13 ONNX Runtime's provider is linked to it."""
    folder.mkdir(parents=True, exist_ok=True)
    provider = packages / PROVIDERS.format("cuda")
    cuda_stubs.link(Stub(DRIVER, NO_DEVICE), [name for name in cuda_stubs.called(provider, "") if re.match("cu[A-Z]", name)], folder)


def _take_onnxruntime(shelf: Shelf, packages: Path) -> list[Path]:
    """Its provider for CUDA with the bridge to it, and GenAI's kernels; those two that are linked to NVIDIA's libraries."""
    shelf.take("onnxruntime-gpu", tuple(PROVIDERS.format(name) for name in ("shared", "cuda")), packages)
    shelf.take("onnxruntime-genai-cuda", (GENAI,), packages)
    shelf.strip(packages / GENAI)  # most of it in the CUDA 12 release is symbols; ONNX Runtime's own come stripped
    return [packages / PROVIDERS.format("cuda"), packages / GENAI]
