"""What this machine lacks: engine, build environment, GPU runtime, disk, lingering. Each finding names its fix."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.engine import EngineFacts
from toolkit.core.files import as_size, free_bytes
from toolkit.core.images import OwnImage
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError

LITTLE_DISK = 10e9
"""Bytes: build environment and image take about 5 GB, the sample's run another 2."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ok, warning or problem; what was seen, and what to do about it."""

    subject: str
    level: str
    seen: str
    fix: str = ""


def examine(bench: Workbench) -> Iterator[Finding]:
    """Every finding of this machine, in order. A check that cannot be done is a finding too."""
    facts, engine_finding = _engine(bench)
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs, {sys.executable}")
    yield engine_finding
    for check in (_build_environment, _disk, _gpu, _linger, _credentials):
        yield check(bench, facts)


def _engine(bench: Workbench) -> tuple[EngineFacts | None, Finding]:
    try:
        engine = bench.image_engine()
        facts = engine.facts()
    except ToolkitError as exc:
        return None, Finding(
            "engine", "warning", exc.message, f"{exc.hint} Without one: builds and chat run locally; images and pushes do not."
        )
    built = engine.find(bench.settings.build_image or OwnImage("build", "cpu").tag(bench.settings))
    said = f"Docker {facts.version}, API {facts.api}, {facts.storage}, {facts.cpus} CPUs, {as_size(facts.memory)}; build image {'ready' if built else 'not built yet'}"
    return facts, Finding("engine", "ok", said)


def _build_environment(bench: Workbench, facts: EngineFacts | None) -> Finding:
    python = bench.settings.build_python
    if not python.exists():
        level = "ok" if facts else "problem"
        return Finding(
            "build environment", level, "the local one is not installed", "`make build-env` installs it; the docker engine needs none."
        )
    wanted = ("olive-ai", "torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai", "onnxruntime-genai-cuda")
    code = f"from importlib.metadata import distributions as d; w={wanted!r}; print(', '.join(sorted(x.name+' '+x.version for x in d() if x.name in w)))"
    try:
        seen = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding("build environment", "problem", f"{python} does not run: {exc}", "Remove .venv-build, then `make build-env`.")
    lacking = [name for name in wanted[:5] if name not in seen]
    if lacking:
        return Finding("build environment", "problem", f"lacks {', '.join(lacking)}", "`make build-env`")
    return Finding("build environment", "ok", seen)


def _disk(bench: Workbench, facts: EngineFacts | None) -> Finding:
    places = {str(bench.settings.home): free_bytes(bench.settings.home)}
    if facts and Path(facts.root).exists():
        places[facts.root] = free_bytes(Path(facts.root))
    seen = ", ".join(f"{as_size(free)} free at {place}" for place, free in places.items())
    if min(places.values()) < LITTLE_DISK:
        return Finding("disk", "warning", seen, "`edge clean` shows what can go; EDGE_HOME moves runs and cache to another disk.")
    return Finding("disk", "ok", seen)


def _gpu(bench: Workbench, facts: EngineFacts | None) -> Finding:
    tool = shutil.which("nvidia-smi")
    if not tool:
        return Finding("gpu", "ok", "no NVIDIA driver here: everything runs on the CPU")
    try:
        asked = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        seen = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.strip().replace("\n", "; ")
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding("gpu", "problem", f"nvidia-smi fails: {exc}", "Reinstall the NVIDIA driver.")
    if facts and "nvidia" not in facts.runtimes:
        return Finding(
            "gpu", "warning", f"{seen}; the engine has no GPU runtime", "Install nvidia-container-toolkit, then restart the engine."
        )
    return Finding("gpu", "ok", seen)


def _linger(bench: Workbench, facts: EngineFacts | None, run: Callable[..., subprocess.CompletedProcess] = subprocess.run) -> Finding:
    """systemd may end a user's processes at log-out; local builds would die with the SSH session."""
    if os.getuid() == 0 or not shutil.which("loginctl"):
        return Finding("lingering", "ok", "processes of this user outlive the session")
    try:
        user = os.environ.get("USER", str(os.getuid()))
        said = run(["loginctl", "show-user", user, "--property=Linger"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        said = ""
    if "Linger=yes" in said or bench.settings.engine == "docker":
        return Finding("lingering", "ok", "processes of this user outlive the session")
    return Finding(
        "lingering", "warning", "local runs may be ended when you log out, if this system kills user processes", "`loginctl enable-linger`"
    )


def _credentials(bench: Workbench, facts: EngineFacts | None) -> Finding:
    if os.environ.get("EDGE_REGISTRY_USERNAME") and os.environ.get("EDGE_REGISTRY_PASSWORD"):
        return Finding("registry", "ok", f"user {os.environ['EDGE_REGISTRY_USERNAME']} from EDGE_REGISTRY_USERNAME")
    return Finding("registry", "ok", "no credentials in the environment; `edge push` asks, or takes --username and --password-stdin")
