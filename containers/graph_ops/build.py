"""Compile the library of our graph operators: `python build.py FOLDER`. Needs g++ and nothing of CUDA. Standard library only.

Without a compiler nothing is made, which is no failure: graphs are then exported with ONNX's own operators.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = "libedge_graph_ops.so"
OPTIONS = (
    "-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror",
    "-static-libstdc++", "-static-libgcc", "-Wl,-s", "-Wl,--build-id=none",
)  # fmt: skip
"""C++'s own libraries go in, so that it loads in images that have none. No build id: the same sources make the same bytes."""


def build_library(folder: Path, compiler: str = "g++") -> Path | None:
    """The library, made in `folder`; None where there is no compiler.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    if shutil.which(compiler) is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        kernels = Path(made, "kernels_ptx.cc")
        ptx = (HERE / "kernels.ptx").read_text(encoding="utf-8")
        kernels.write_text(f'extern "C" const char kernels_ptx[] = R"PTX({ptx})PTX";\n', encoding="utf-8")
        library = Path(made, LIBRARY)
        # In its own folder, for g++ writes the name of a source file into what it makes.
        command = [compiler, *OPTIONS, f"-I{HERE}", "-o", str(library), str(HERE / "graph_ops.cc"), kernels.name, "-ldl"]
        subprocess.run(command, cwd=made, check=True)
        shutil.copyfile(library, folder / LIBRARY)
    return folder / LIBRARY


if __name__ == "__main__":
    if build_library(Path(sys.argv[1])) is None:
        print("No C++ compiler (g++) here; adapters will run by ONNX's own operators, which is slower.", file=sys.stderr)
