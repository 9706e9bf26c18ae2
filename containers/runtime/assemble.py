"""Lay out the file system of the runtime image, layer by layer, inside the build stage. Standard library only.

/layers/python   the interpreter, the standard library cut to what a server needs, and the shared libraries of all three
/layers/packages the wheels, cut to what serving needs
/layers/server   the programs, and the folders that a model and adapters are put into
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

LAYERS = Path("/layers")
PYTHON, PACKAGES, SERVER = LAYERS / "python", LAYERS / "packages", LAYERS / "server"
SITE = PACKAGES / "opt/edge/packages"
PROGRAMS = SERVER / "opt/edge/server"
EPOCH = 1_700_000_000
"""Time of every file, so that the same content makes the same layer."""

UNUSED_WHEELS = ("flatbuffers", "packaging", "protobuf")
"""Needed by `import onnxruntime`; GenAI only opens onnxruntime's library."""

UNUSED_IN_PACKAGES = (
    "numpy/**/tests", "numpy/f2py", "numpy/testing", "numpy/typing", "numpy/random", "numpy/polynomial",
    "numpy/_pyinstaller", "numpy/_core/include", "numpy/_core/lib", "numpy/_core/*_tests*.so",
    "numpy/**/*.pyi", "numpy/**/*.pxd", "numpy/**/*.a",
    "onnxruntime/[!c]*", "onnxruntime/capi/*.py", "onnxruntime/capi/onnxruntime_pybind11_state*",
    "onnxruntime/capi/libonnxruntime_providers_shared.so", "onnxruntime/capi/training",
    "onnxruntime_genai/models", "bin",
)  # fmt: skip

UNUSED_IN_PYTHON = (
    "EXTERNALLY-MANAGED", "site-packages", "dist-packages", "__pycache__", "config-3*", "_sysconfigdata*debug*", "sitecustomize.py",
    "test", "idlelib", "lib2to3", "ensurepip", "distutils", "unittest", "tkinter", "turtledemo", "turtle.py", "venv",
    "pydoc_data", "pydoc.py", "doctest.py", "xmlrpc", "wsgiref", "curses", "dbm", "sqlite3", "msilib",
    *(f"lib-dynload/{name}*" for name in (
        "_test", "_xx", "xx", "_curses", "_dbm", "_gdbm", "_sqlite3", "_tkinter", "audioop", "ossaudiodev",
        "readline", "_crypt", "nis",
    )),
)  # fmt: skip

KEPT_NOTICES = ("onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt", "onnxruntime/Privacy.md")

STRIPPED = ("onnxruntime_genai/libonnxruntime-genai.so",)
"""Two thirds of it are symbols. Nothing else is stripped: numpy's OpenBLAS does not survive it."""


def main() -> None:
    unpack_wheels()
    copy_python()
    copy_server()
    copy_libraries()
    compile_sources()
    check_imports()
    for path in sorted(LAYERS.rglob("*")):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def unpack_wheels() -> None:
    wheels = [wheel for wheel in sorted(Path("/wheels").glob("*.whl")) if not wheel.name.startswith(UNUSED_WHEELS)]
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    foreign = [wheel.name for wheel in wheels if "-cp3" in wheel.name and f"-{tag}-" not in wheel.name]
    if foreign or not wheels:
        sys.exit(f"The base image has Python {sysconfig.get_python_version()}; the wheels are not for it: {foreign}")
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(SITE)
    notices = {name: (SITE / name).read_bytes() for name in KEPT_NOTICES}
    remove(SITE, UNUSED_IN_PACKAGES)
    for name, content in notices.items():
        (SITE / name).write_bytes(content)
    (SITE / "onnxruntime/__init__.py").write_text('"""Only the library in capi/ is here: use onnxruntime_genai."""\n')
    for name in STRIPPED:
        subprocess.run(["strip", "--strip-unneeded", SITE / name], check=True)


def copy_python() -> None:
    program = Path(sys.executable).resolve()
    copy_file(program, PYTHON / program.relative_to("/"))
    record_origin(program)
    library = Path(sysconfig.get_path("stdlib"))
    copied = PYTHON / library.relative_to("/")
    shutil.copytree(library, copied, ignore_dangling_symlinks=True)
    record_origin(library / "asyncio")
    remove(copied, UNUSED_IN_PYTHON)
    link = PYTHON / "usr/bin/python3"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(program)
    (PYTHON / "etc").mkdir()
    (PYTHON / "etc/passwd").write_text("root:x:0:0:root:/:/sbin/nologin\nedge:x:65532:65532:edge:/:/sbin/nologin\n")
    (PYTHON / "etc/group").write_text("root:x:0:\nedge:x:65532:\n")
    (PYTHON / "tmp").mkdir()
    (PYTHON / "tmp").chmod(0o1777)


def copy_server() -> None:
    shutil.copytree("/programs", PROGRAMS)
    for folder in ("model", "adapters", "etc/edge", "run/edge"):
        (SERVER / folder).mkdir(parents=True)


def copy_libraries() -> None:
    """Every shared library that the programs and extension modules are linked to, with what Debian says of it."""
    needed: set[Path] = set()
    for path in (*PYTHON.rglob("*"), *PACKAGES.rglob("*")):
        if path.is_file() and not path.is_symlink() and is_elf(path):
            needed |= linked_libraries(path)
    for library in sorted(needed):
        copy_file(library, PYTHON / library.relative_to("/"))
        record_origin(library)
    for name in ("lib", "lib64"):
        target = Path("/", name)
        if target.is_symlink() and (PYTHON / "usr" / name).is_dir():
            (PYTHON / name).symlink_to(f"usr/{name}")


def linked_libraries(path: Path) -> set[Path]:
    """Libraries of the base image that a binary is linked to, by their place below /usr."""
    lines = subprocess.run(["ldd", path], capture_output=True, text=True).stdout.splitlines()
    missing = [line.strip() for line in lines if "not found" in line]
    if missing:
        sys.exit(f"{path} needs what the base image lacks: {missing}")
    words = (word for line in lines for word in line.split() if word.startswith("/"))
    places = {Path(word).parent.resolve() / Path(word).name for word in words}
    return {place for place in places if not place.is_relative_to(LAYERS)}


def record_origin(copied: Path) -> None:
    """Keep the Debian record and licence of what was copied: scanners read the one, people the other."""
    pattern = f"*/{copied.parent.name}/{copied.name}"  # not the whole path: dpkg may know it from before /usr was merged
    found = subprocess.run(["dpkg-query", "--search", pattern], capture_output=True, text=True).stdout
    for package in sorted({line.partition(":")[0] for line in found.splitlines()}):
        record = subprocess.run(["dpkg-query", "--status", package], capture_output=True, text=True).stdout
        status = PYTHON / "var/lib/dpkg/status.d" / package
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(record)
        licence = Path("/usr/share/doc", package, "copyright")
        if licence.exists():
            copy_file(licence, PYTHON / licence.relative_to("/"))


def compile_sources() -> None:
    """Compiled files that need no look at their source; the sources of libraries go, the server's stay to be read."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    for layer in (PYTHON, PACKAGES):
        compileall.compile_dir(layer, quiet=2, legacy=True, invalidation_mode=mode, stripdir=layer)
        for source in layer.rglob("*.py"):
            if source.with_suffix(".pyc").exists():
                source.unlink()
    compileall.compile_dir(PROGRAMS, quiet=1, invalidation_mode=mode, stripdir=SERVER)


def check_imports() -> None:
    """Start the server's imports in a tree of just these layers; what was cut too deep shows here."""
    tree = Path("/check")
    for layer in (PYTHON, PACKAGES, SERVER):
        shutil.copytree(layer, tree, symlinks=True, dirs_exist_ok=True)
    command = ["/usr/sbin/chroot", tree, "/usr/bin/python3", "-S", "/opt/edge/server/serve.py", "--help"]
    environment = {"PYTHONPATH": "/opt/edge/packages", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit("The server does not start in the assembled image; see above for what is missing.")


def remove(folder: Path, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        for path in list(folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


if __name__ == "__main__":
    main()
