"""Compile kernels.cu to kernels.ptx by NVRTC. Needs no GPU and no CUDA toolkit, only two wheels:

    pip install --target WHEELS nvidia-cuda-nvrtc-cu12==12.1.105 nvidia-cuda-runtime-cu12==12.1.105
    python make_ptx.py WHEELS

NVRTC 12.1, because what it writes runs with every driver from release 530 on; compute_75, because ONNX Runtime's own kernels
begin there, and a driver compiles PTX for whatever card is newer.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARCHITECTURE = "compute_75"


def ptx_of(source: str, wheels: Path) -> str:
    """The PTX of CUDA C++ source text.

    Raises:
        RuntimeError: it does not compile; the compiler's words.
    """
    folder = wheels / "nvidia" / "cuda_nvrtc" / "lib"
    ctypes.CDLL(str(next(folder.glob("libnvrtc-builtins.so*"))), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(str(next(folder.glob("libnvrtc.so*"))))
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    options = [f"--gpu-architecture={ARCHITECTURE}", "--std=c++17", f"--include-path={wheels / 'nvidia' / 'cuda_runtime' / 'include'}"]
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
    if failed:
        raise RuntimeError(_text(nvrtc, program, "ProgramLog"))
    return _text(nvrtc, program, "PTX")


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.value.decode()


def stamp(source: str) -> str:
    """The first line of the PTX: which source it was made of."""
    return f"// of kernels.cu {hashlib.sha256(source.encode()).hexdigest()}\n"


if __name__ == "__main__":
    source = (HERE / "kernels.cu").read_text(encoding="utf-8")
    (HERE / "kernels.ptx").write_text(stamp(source) + ptx_of(source, Path(sys.argv[1])), encoding="utf-8")
