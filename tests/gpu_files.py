"""Libraries and environments that look to the toolkit like NVIDIA's: ELF files of a few hundred bytes, and folders of wheels."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

NEEDED, STRINGS, STRINGS_SIZE, SONAME, RUNPATH = 1, 5, 10, 14, 29
ADDRESS = 0x10000

CUDA12 = ("libcublas.so.12", "libcublasLt.so.12", "libcudart.so.12", "libcufft.so.11", "libcurand.so.10", "libcudnn.so.9")
"""What onnxruntime-gpu 1.26.0 is linked against, besides the C library."""
CUDA13 = ("libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13", "libcurand.so.10", "libcuda.so.1")
"""And onnxruntime-gpu 1.31.1."""


def write_library(path: Path, needed: Iterable[str] = (), soname: str = "", runpath: str = "") -> Path:
    """A shared library of 64 bits: a header, two segments, names and links."""
    named = [*((NEEDED, name) for name in needed), *([(SONAME, soname)] if soname else []), *([(RUNPATH, runpath)] if runpath else [])]
    strings, entries = b"\0", []
    for tag, name in named:
        entries.append((tag, len(strings)))
        strings += name.encode() + b"\0"
    at = 64 + 2 * 56
    entries += [(STRINGS, ADDRESS + at), (STRINGS_SIZE, len(strings)), (0, 0)]
    links = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    whole = at + len(strings) + len(links)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, ADDRESS, ADDRESS, whole, whole, 4096)
    dynamic_at = at + len(strings)
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, ADDRESS + dynamic_at, ADDRESS + dynamic_at, len(links), len(links), 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + load + dynamic + strings + links)
    return path


class Environment:
    """A `site-packages` to install things into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def install(self, name: str, version: str) -> Environment:
        (self.folder / f"{name.replace('-', '_')}-{version}.dist-info").mkdir()
        return self

    def onnxruntime(self, version: str = "1.26.0", needed: Iterable[str] = CUDA12) -> Environment:
        write_library(self.folder / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so", [*needed, "libc.so.6"])
        return self.install("onnxruntime-gpu", version)

    def genai(self, version: str = "0.14.1", needed: Iterable[str] = CUDA12[:5]) -> Environment:
        write_library(self.folder / "onnxruntime_genai" / "libonnxruntime-genai-cuda.so", needed)
        return self.install("onnxruntime-genai-cuda", version)

    def torch(self, version: str = "2.10.0", needed: Iterable[str] = ("libcudart.so.12", "libcublas.so.12")) -> Environment:
        write_library(self.folder / "torch" / "lib" / "libtorch_cuda.so", needed)
        return self.install("torch", version)

    def wheels(self, sonames: Iterable[str] = CUDA12) -> Environment:
        """NVIDIA's wheels with these libraries; cuBLAS needs its lighter half."""
        for soname in sonames:
            needed = ["libcublasLt.so.12"] if soname == "libcublas.so.12" else []
            write_library(self.folder / "nvidia" / soname.partition(".")[0][3:] / "lib" / soname, needed, soname)
        return self

    @classmethod
    def for_cuda12(cls, folder: Path) -> Environment:
        """The pair for CUDA 12 with PyTorch and every library they need."""
        return cls(folder).onnxruntime().genai().torch().wheels()
