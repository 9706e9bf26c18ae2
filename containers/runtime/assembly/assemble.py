"""Lay out the file system of the runtime image, layer by layer, inside the build stage. Standard library only.

/layers/python    the interpreter, the modules of its library that the server can come to need, and the system's libraries under all of it
/layers/cuda      NVIDIA's libraries; for a GPU only
/layers/packages  ONNX Runtime, GenAI, and the packages under the server
/layers/server    the programs, where everything came from, and the folders that a model and adapters are put into
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from debian import Base, copy
from modules import needed_files
from origins import Origins
from wheels import Shelf

LAYERS = Path("/layers")
PYTHON, CUDA, PACKAGES, SERVER = (LAYERS / name for name in ("python", "cuda", "packages", "server"))
EDGE = Path("opt/edge")
SITE = PACKAGES / EDGE / "packages"
LIBRARIES = CUDA / EDGE / "cuda"
PROGRAMS = SERVER / EDGE / "server"
HERE = Path(__file__).resolve().parent
WHEELS, GIVEN_PROGRAMS, UNPACKED, CHECK = (Path("/", name) for name in ("wheels", "programs", "unpacked", "check"))
EPOCH = 1_700_000_000
"""Time of every file, so that the same content makes the same layer."""

ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
GENAI = ("onnxruntime-genai", "onnxruntime-genai-cuda")
GENAI_LIBRARY = "onnxruntime_genai/libonnxruntime-genai.so"
TERMS = ("*/LICENSE", "*/ThirdPartyNotices.txt")

PASSWD = "root:x:0:0:root:/:/sbin/nologin\nedge:x:65532:65532:edge:/:/sbin/nologin\n"
GROUP = "root:x:0:\nedge:x:65532:\n"


def main() -> None:
    flavour = os.environ["FLAVOUR"]
    origins = Origins(LAYERS)
    shelf = Shelf(WHEELS, origins)
    LIBRARIES.mkdir(parents=True)  # stays empty without a GPU; the classic builder stumbles over a layer of nothing
    take_onnxruntime(shelf)
    if flavour != "cpu":
        import cuda_set
        import driver_place

        driver_place.lay_out(CUDA, origins)
        cuda_set.lay_out(flavour, shelf, packages=SITE, libraries=LIBRARIES, origins=origins)
    base = Base(PYTHON, origins)
    take_modules(shelf, base, origins)
    base.take_linked(elf_files(PYTHON, PACKAGES, CUDA), beside=(LIBRARIES, SITE / "onnxruntime/capi"))
    write_accounts(origins)
    lay_out_server(origins)
    compile_all(origins)
    origins.write(SERVER / EDGE / "origins.json")
    settle()
    check(flavour)


def take_onnxruntime(shelf: Shelf) -> None:
    """The two libraries alone. Their Python modules hold the same code a second time, and need numpy."""
    onnxruntime, genai = shelf.any_of(*ONNXRUNTIME), shelf.any_of(*GENAI)
    shelf.take(onnxruntime, ("onnxruntime/capi/libonnxruntime.so*", "onnxruntime/Privacy.md", *TERMS), SITE)
    shelf.take(genai, (GENAI_LIBRARY, *TERMS), SITE)
    shelf.strip(SITE / GENAI_LIBRARY)  # two thirds are symbols; ONNX Runtime's own comes stripped
    for project in (onnxruntime, genai):
        shelf.take_notices(project, SITE)


def take_modules(shelf: Shelf, base: Base, origins: Origins) -> None:
    """The interpreter, and what the server can come to import of its library and of the packages."""
    interpreter, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    packages = [project for project in shelf.projects if project not in (*ONNXRUNTIME, *GENAI) and not project.startswith("nvidia-")]
    scratch = Origins(LAYERS)
    for project in packages:
        Shelf(WHEELS, scratch).take(project, ("*",), UNPACKED)
    needed = needed_files(GIVEN_PROGRAMS, (HERE / "no_tls", UNPACKED, library, library / "lib-dynload"))
    base.take([interpreter, *(path for path in needed if path.is_relative_to(library))])
    for project in packages:
        members = {str(path.relative_to(UNPACKED)) for path in needed if path.is_relative_to(UNPACKED)}
        shelf.take_modules(project, members, SITE)
    copy(HERE / "no_tls/ssl.py", SITE / "ssl.py")
    origins.made_here(SITE / "ssl.py", "stands in for Python's ssl")
    link = PYTHON / "usr/bin/python3"
    link.symlink_to(interpreter.name)


def write_accounts(origins: Origins) -> None:
    for name, text in (("passwd", PASSWD), ("group", GROUP)):
        path = PYTHON / "etc" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        origins.made_here(path, "the accounts")
    (PYTHON / "tmp").mkdir()


def lay_out_server(origins: Origins) -> None:
    shutil.copytree(GIVEN_PROGRAMS, PROGRAMS)
    for path in PROGRAMS.rglob("*.py"):
        origins.made_here(path, "the server")
    for folder in ("model", "adapters", "etc/edge", "run/edge"):
        (SERVER / folder).mkdir(parents=True)


def compile_all(origins: Origins) -> None:
    """Compiled files that need no look at their source; the sources of libraries go, the server's stay to be read."""
    for layer in (PYTHON, PACKAGES):
        compile_folder(layer, layer, "-b")
        for source in layer.rglob("*.py"):
            origins.became(source, source.with_suffix(".pyc"), "compiled")
            source.unlink()
    compile_folder(PROGRAMS, SERVER)
    for compiled in PROGRAMS.rglob("*.pyc"):
        origins.made_here(compiled, "the server, compiled")


def compile_folder(folder: Path, root: Path, *flags: str) -> None:
    """In a process of its own, with nothing left to chance: the same source makes the same bytes."""
    command = [
        sys.executable,
        "-I",
        "-m",
        "compileall",
        "-q",
        *flags,
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        root,
        "-p",
        "/",
        folder,
    ]
    subprocess.run(command, env={"PYTHONHASHSEED": "0"}, check=True)


def settle() -> None:
    """Modes and times that do not depend on who builds when."""
    for path in sorted(LAYERS.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    (PYTHON / "tmp").chmod(0o1777)
    for path in sorted(LAYERS.rglob("*"), reverse=True):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def check(flavour: str) -> None:
    """Load everything in a tree of just these layers: what was cut too deep shows here."""
    CHECK.mkdir()
    for layer in (PYTHON, CUDA, PACKAGES, SERVER):
        subprocess.run(["cp", "-a", f"{layer}/.", CHECK], check=True)
    command = ["/usr/sbin/chroot", CHECK, "/usr/bin/python3", "-S", "/opt/edge/server/selfcheck.py"]
    environment = {"PYTHONPATH": "/opt/edge/packages", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    if flavour != "cpu":
        import cuda_set

        cuda_set.stand_in_for_driver(CHECK / "driver", SITE)
        environment["LD_LIBRARY_PATH"] = "/opt/edge/cuda:/driver"
    if subprocess.run(command, env=environment).returncode != 0:
        sys.exit("The assembled image lacks something; see above.")
    shutil.rmtree(CHECK)


def elf_files(*layers: Path) -> list[Path]:
    files = (path for layer in layers for path in layer.rglob("*"))
    return [path for path in files if path.is_file() and not path.is_symlink() and is_elf(path)]


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


if __name__ == "__main__":
    main()
