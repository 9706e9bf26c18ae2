"""The images our own Dockerfiles make, named by the content of what goes into them and built when missing."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.engine import LABEL, ImageEngine
from toolkit.errors import EngineError
from toolkit.settings import Settings

DEFAULT_BASES = {
    "cpu": "debian:12-slim",
    "cuda12": "nvidia/cuda:12.8.1-base-ubuntu24.04",
    "cuda13": "nvidia/cuda:13.0.2-base-ubuntu24.04",
}
"""What a flavour of the build image is made on; its Dockerfile says why."""
LOCAL_BASE = "edge-toolkit/base:bookworm"
"""Made by `containers/base/make_base.sh` out of Debian's packages where the default cannot be pulled. It does for every flavour."""
SOURCES = ("*.py", "Dockerfile")
PYTHONS = ("3.11", "3.12")
"""Versions that the lock files have wheels for."""
SYSTEM_PYTHONS = {"debian 12": "3.11", "ubuntu 24.04": "3.12"}
"""What a system's own packages bring."""
ASK_PYTHON = (
    "python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])' 2>/dev/null || { . /etc/os-release; echo system $ID $VERSION_ID; }"
)
SHARED = ("events.py", "machine.py", "elf.py", "cuda_driver.py", "cuda_stack.py", "cuda_verdict.py")
"""Files beside this one that the build image gets too."""


@dataclass(frozen=True)
class OwnImage:
    """An image we build: `containers/<role>/Dockerfile` in one flavour."""

    role: str
    """build or runtime."""
    flavour: str
    """cpu, cuda12 or cuda13."""

    def tag(self, settings: Settings) -> str:
        """`edge-toolkit/<role>-<flavour>:<hash of sources and base>`."""
        digest = hashlib.sha256(settings.base_image.encode())
        for path in self._sources(settings):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return f"edge-toolkit/{self.role}-{self.flavour}:{digest.hexdigest()[:12]}"

    @property
    def default_base(self) -> str:
        """What it is made on where nothing else is chosen. No runtime image needs NVIDIA's: the libraries come as wheels."""
        return DEFAULT_BASES[self.flavour if self.role == "build" else "cpu"]

    def _sources(self, settings: Settings) -> list[Path]:
        folder = settings.containers / self.role
        patterns = (*SOURCES, f"{self.flavour}.lock", "model-builder.lock")
        found = sorted(path for pattern in patterns for path in folder.rglob(pattern) if "__pycache__" not in path.parts)
        return [*found, *(Path(__file__).with_name(name) for name in SHARED)] if self.role == "build" else found

    def ensure(self, settings: Settings, engine: ImageEngine) -> Iterator[str]:
        """Build the image unless the engine has it; yields lines of what happens.

        Raises:
            EngineError: the base or the wheels could not be had, or the build failed.
        """
        tag = self.tag(settings)
        if engine.find(tag):
            return
        yield f"Building {tag} (once; later runs reuse it)"
        base = yield from _base(settings, engine, self.default_base)
        context = settings.cache / "context" / f"{self.role}-{self.flavour}"
        context.parent.mkdir(parents=True, exist_ok=True)
        yield f"Fetching the wheels of {self.role}/{self.flavour}.lock"
        self._lay_out(settings, context, python_of(engine, base))
        arguments = {"FLAVOUR": self.flavour, "BASE_IMAGE": base}
        labels = {f"{LABEL}.kind": self.role, f"{LABEL}.flavour": self.flavour}
        yield from engine.build(context, tag, self.flavour if self.role == "runtime" else "", arguments, labels)
        engine.tag(tag, f"{tag.rpartition(':')[0]}:latest")  # the name that compose.yaml knows

    def _lay_out(self, settings: Settings, context: Path, python: str) -> None:
        argv = [sys.executable, str(settings.containers / "make_context.py"), self.role, str(context), "--flavour", self.flavour]
        argv += ["--python", python]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise EngineError(
                f"The build context of {self.role} could not be made: {' '.join(said)}", "Check the network and `pip config list`."
            )


def python_of(engine: ImageEngine, base: str) -> str:
    """The version of Python that a base has, or that its packages bring: the wheels must be for that one.

    Raises:
        EngineError: there are no wheels for it.
    """
    said = engine.ask(base, ["sh", "-c", ASK_PYTHON])[1].strip().rpartition("\n")[2].split()  # an entry point may talk before
    version = SYSTEM_PYTHONS.get(" ".join(said[1:]), "") if said[:1] == ["system"] else " ".join(said)
    if version not in PYTHONS:
        seen = f"has Python {version}" if version else f"is {' '.join(said[1:]) or 'no system that is known here'}"
        raise EngineError(f"The base image {base} {seen}.", "Use one with Python 3.11 or 3.12: Debian 12 or Ubuntu 24.04.")
    return version


def _base(settings: Settings, engine: ImageEngine, default: str) -> Iterator[str]:
    """The base to build on: the chosen one, the default, or one made here from Debian's packages."""
    wanted = settings.base_image or default
    if engine.find(wanted):
        return wanted
    yield f"Pulling {wanted}"
    if engine.pull(wanted):
        return wanted
    if settings.base_image or os.getuid() != 0 or not shutil.which("debootstrap"):
        raise EngineError(
            f"The base image {wanted} cannot be pulled.",
            "Set EDGE_BASE_IMAGE to a Debian 12 or Ubuntu 24.04 image the engine has; as root with debootstrap installed one is made here.",
        )
    yield f"{wanted} cannot be pulled; making {LOCAL_BASE} from Debian's packages"
    done = subprocess.run(["bash", str(settings.containers / "base" / "make_base.sh"), LOCAL_BASE], capture_output=True, text=True)
    if done.returncode:
        raise EngineError(f"{LOCAL_BASE} could not be made: {done.stderr.strip().splitlines()[-1:]}", "Check Debian's mirror in /etc/apt.")
    return LOCAL_BASE
