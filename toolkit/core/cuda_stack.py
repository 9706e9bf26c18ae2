"""The runtime libraries installed in an environment, which CUDA each is linked against, and what of it does not go together.

What is linked is read from the files themselves, for versions and names do not tell. Standard library only, and
neighbours by relative import: build images copy this file.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .elf import Linked, links_of
from .machine import answer_of

RUNTIMES = {
    "torch": ("torch/lib/libtorch_cuda.so", "torch/lib/libtorch_cuda_linalg.so", "torch/lib/libc10_cuda.so"),
    "onnxruntime": ("onnxruntime/capi/libonnxruntime_providers_cuda.so",),
    "onnxruntime-genai": ("onnxruntime_genai/libonnxruntime-genai-cuda.so",),
}
"""The files of each runtime that are linked against CUDA; a build for the CPU has none of them."""
DISTRIBUTIONS = {
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime-genai": ("onnxruntime-genai", "onnxruntime-genai-cuda"),
}
"""What each runtime is installed as; of two, they overwrite each other's files."""
PAIRS = {
    12: ("onnxruntime-gpu==1.26.0", "onnxruntime-genai-cuda==0.14.1"),
    13: ("onnxruntime-gpu==1.31.1", "onnxruntime-genai-cuda==0.18.0"),
}
"""Releases of ONNX Runtime that run together. Each must be named: the second alone brings a first that is for another CUDA."""
TORCH = {12: "torch==2.10.0", 13: "torch==2.13.0"}
"""Releases whose general build is for this CUDA."""
WHEELS = {
    "cudart": "cuda-runtime", "cublas": "cublas", "cublasLt": "cublas", "cufft": "cufft", "cufftw": "cufft", "curand": "curand",
    "cusolver": "cusolver", "cusparse": "cusparse", "nvrtc": "cuda-nvrtc", "nvJitLink": "nvjitlink", "cupti": "cuda-cupti",
    "cufile": "cufile", "cudnn": "cudnn", "nccl": "nccl", "cusparseLt": "cusparselt", "nvshmem_host": "nvshmem",
}  # fmt: skip
"""Names of libraries, and of the wheels that bring them."""
_ALWAYS_MARKED = ("cudnn", "nccl", "cusparselt", "nvshmem")
"""Wheels that carry -cu13 in their name; other wheels for CUDA 13 carry nothing."""
_SONAME = re.compile(r"^lib([A-Za-z_]+)\.so\.(\d+)$")
_INSTALLED = re.compile(r"^(.+?)-([^-]+)\.dist-info$")
_LISTED = re.compile(r"^\s*(\S+) \(")
LDCONFIG_SECONDS = 10.0


@dataclass(frozen=True)
class Runtime:
    """One runtime as it is installed."""

    name: str
    version: str
    """Of its distribution, with the distribution's name: `onnxruntime-gpu 1.26.0`."""
    needed: frozenset[str] = frozenset()
    """Sonames of the CUDA libraries that it is linked against."""

    @property
    def cuda(self) -> int:
        """Number of the CUDA it is linked against; 0: it is a build for the CPU."""
        return max(filter(None, map(generation, self.needed)), default=0)


@dataclass(frozen=True)
class Stack:
    """The runtimes of one environment."""

    runtimes: tuple[Runtime, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By runtime: sonames that neither a wheel nor the system has."""
    twins: tuple[tuple[str, ...], ...] = ()
    """Distributions that overwrite each other."""
    brought: Mapping[str, Path] = field(default_factory=dict)
    """The libraries of NVIDIA's wheels, by soname."""

    def cuda_of(self, *names: str) -> int:
        """The newest CUDA that runtimes of these names are linked against; 0: the CPU only."""
        return max((runtime.cuda for runtime in self.runtimes if runtime.name in names), default=0)

    @property
    def cuda(self) -> int:
        """ONNX Runtime decides the flavour: PyTorch's general build is one for CUDA on every machine."""
        return self.cuda_of("onnxruntime", "onnxruntime-genai")

    @property
    def flavour(self) -> str:
        return f"cuda{self.cuda}" if self.cuda else "cpu"

    def __str__(self) -> str:
        by_cuda: dict[int, list[str]] = {}
        for runtime in self.runtimes:
            by_cuda.setdefault(runtime.cuda, []).append(runtime.version)
        return "; ".join(f"{', '.join(names)} for {f'CUDA {cuda}' if cuda else 'the CPU'}" for cuda, names in by_cuda.items())


@dataclass(frozen=True)
class Fault:
    """Something that would not run, or would silently run on the CPU, and the command that puts it right."""

    seen: str
    fix: str


def generation(soname: str) -> int:
    """The CUDA that a library belongs to; 0 where its name does not tell, for several have kept a number of their own."""
    found = _SONAME.match(soname)
    name, number = (found[1], int(found[2])) if found else ("", 0)
    if name in ("cudart", "cublas", "cublasLt", "nvrtc", "nvJitLink", "cupti"):
        return number
    return number + 1 if name in ("cufft", "cufftw") or (name == "cusolver" and number == 11) else 0


def look(folders: Iterable[Path], system: frozenset[str] = frozenset()) -> Stack:
    """What is installed in these `site-packages`; `system` are the libraries that the machine itself has."""
    folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    installed, brought = _installed(folders), _brought(folders)
    runtimes, missing = [], {}
    for name, kinds in DISTRIBUTIONS.items():
        found = [kind for kind in kinds if kind in installed]
        if not found:
            continue
        files = [folder / file for folder in folders for file in RUNTIMES[name] if (folder / file).is_file()]
        links = [linked for linked in map(links_of, files) if linked]
        needed = frozenset(soname for linked in links for soname in linked.needed if _is_of_cuda(soname))
        runtimes.append(Runtime(name, " and ".join(f"{kind} {installed[kind]}" for kind in found), needed))
        missing[name] = _lacking(needed, links, brought, system)
    twins = tuple(both for both in DISTRIBUTIONS.values() if len(both) > 1 and all(kind in installed for kind in both))
    return Stack(tuple(runtimes), {name: sonames for name, sonames in missing.items() if sonames}, twins, brought)


def _installed(folders: Iterable[Path]) -> dict[str, str]:
    """Versions by distribution, of what lies first on the path."""
    found = [named for folder in folders for name in sorted(os.listdir(folder)) if (named := _INSTALLED.match(name))]
    return {named[1].lower().replace("_", "-"): named[2] for named in reversed(found)}


def _brought(folders: Iterable[Path]) -> dict[str, Path]:
    """The libraries of NVIDIA's wheels, by file name, which is their soname."""
    return {file.name: file for folder in folders for file in (folder / "nvidia").glob("**/lib*.so*")}


def _is_of_cuda(soname: str) -> bool:
    found = _SONAME.match(soname)
    return bool(found) and found[1] in WHEELS


def _lacking(needed: Iterable[str], links: Iterable[Linked], brought: Mapping[str, Path], system: frozenset[str]) -> tuple[str, ...]:
    """What is found nowhere, of what is needed and of what that needs in turn."""
    beside = {Path(folder) for linked in links for folder in linked.searched}
    todo, seen, lacking = sorted(needed), set(needed), []
    while todo:
        soname = todo.pop(0)
        if soname not in brought and soname not in system and not any((folder / soname).exists() for folder in beside):
            lacking.append(soname)
        linked = links_of(brought[soname]) if soname in brought else None
        more = [further for further in (linked or Linked()).needed if _is_of_cuda(further) and further not in seen]
        seen.update(more)
        todo += more
    return tuple(lacking)


def system_libraries(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """The libraries that the machine's loader finds by itself: what ldconfig lists, and LD_LIBRARY_PATH."""
    path = (os.environ if environ is None else environ).get("LD_LIBRARY_PATH", "")
    named = {file.name for folder in filter(None, path.split(":")) for file in Path(folder).glob("lib*.so*")}
    return frozenset(named | set(_listed()))


def _listed() -> Iterator[str]:
    for tool in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            lines = answer_of([tool, "-p"], LDCONFIG_SECONDS).splitlines()
        except (OSError, subprocess.SubprocessError):
            continue
        yield from (found[1] for found in map(_LISTED.match, lines) if found)
        return


def faults_of(stack: Stack, pip: str) -> list[Fault]:
    """What does not go together, with the command that puts it right; `pip` starts such a command."""
    return [*(_twin_fault(both, stack, pip) for both in stack.twins), *_mixes(stack, pip), *_halves(stack, pip), *_gaps(stack, pip)]


def _twin_fault(both: tuple[str, ...], stack: Stack, pip: str) -> Fault:
    pair = PAIRS.get(stack.cuda or 12, PAIRS[12])
    wanted = next(pin for pin in pair if pin.startswith(f"{both[1]}=="))
    fix = f"{pip} uninstall -y {' '.join(both)} && {pip} install --no-deps {wanted}"
    return Fault(f"{both[0]} and {both[1]} are both installed, and overwrite each other's files", f"`{fix}`")


def _mixes(stack: Stack, pip: str) -> Iterator[Fault]:
    """Runtimes that are linked against different CUDAs."""
    for_cuda = [runtime for runtime in stack.runtimes if runtime.cuda]
    if len({runtime.cuda for runtime in for_cuda}) < 2:
        return
    seen = " beside ".join(f"{runtime.version}, linked to CUDA {runtime.cuda}" for runtime in for_cuda)
    wanted = stack.cuda_of("torch") or min(runtime.cuda for runtime in for_cuda)
    fix = f"{pip} install {' '.join(PAIRS.get(wanted, PAIRS[12]))}"
    yield Fault(f"a mix: {seen}, and one process cannot load the cuDNN of both, for they have one name", f"`{fix}`")


def _halves(stack: Stack, pip: str) -> Iterator[Fault]:
    """A runtime for the CPU in an environment for CUDA: its work would be done on the CPU, and nobody would say so."""
    pins = {pin.partition("==")[0]: pin for pin in (*PAIRS.get(stack.cuda, PAIRS[12]), TORCH.get(stack.cuda, TORCH[12]))}
    for runtime in stack.runtimes:
        if not stack.cuda or runtime.cuda:
            continue
        kinds = DISTRIBUTIONS[runtime.name]
        seen = f"{runtime.version} is a build for the CPU beside ONNX Runtime for CUDA {stack.cuda}: its work would land on the CPU"
        yield Fault(seen, f"`{pip} uninstall -y {kinds[0]} && {pip} install {pins[kinds[-1]]}`")


def _gaps(stack: Stack, pip: str) -> Iterator[Fault]:
    """Libraries that are needed and that nobody brings."""
    runtimes = [runtime for runtime in stack.runtimes if runtime.name in stack.missing]
    if not runtimes:
        return
    sonames = sorted({soname for name in stack.missing for soname in stack.missing[name]})
    wheels = {wheel_of(soname, runtime.cuda) for runtime in runtimes for soname in stack.missing[runtime.name]}
    needing = " and ".join(runtime.version for runtime in runtimes)
    seen = f"neither a wheel nor the system has {', '.join(sonames)}: {needing} would not load, and work would land on the CPU"
    yield Fault(seen, f"`{pip} install {' '.join(sorted(filter(None, wheels)))}`")


def wheel_of(soname: str, cuda: int) -> str:
    """The wheel that brings a library, as pip takes it. Wheels are numbered as their libraries are."""
    found = _SONAME.match(soname)
    if not found or found[1] not in WHEELS:
        return ""
    wheel = WHEELS[found[1]]
    marked = f"nvidia-{wheel}-cu{cuda}" if cuda == 12 or wheel in _ALWAYS_MARKED else f"nvidia-{wheel}"
    return marked if found[2] == "0" else f"'{marked}=={found[2]}.*'"
