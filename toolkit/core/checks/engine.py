"""Who does the work: the container engine, and the local build environment."""

from __future__ import annotations

import subprocess

from toolkit.core.files import as_size
from toolkit.core.finding import Finding, Scene
from toolkit.core.images import OwnImage
from toolkit.errors import ToolkitError

NEEDED = ("olive-ai", "torch", "transformers", "peft")


def engine(scene: Scene) -> Finding:
    try:
        facts = scene.engine()
    except ToolkitError as exc:
        level = "problem" if scene.bench.settings.engine == "docker" else "warning"
        return Finding("engine", level, exc.message, f"{exc.hint} Without one: builds and chat run locally; images and pushes do not.")
    state = "ready" if has_build_image(scene) else "not built yet"
    said = f"Docker {facts.version}, API {facts.api}, {facts.storage}, {facts.cpus} CPUs, {as_size(facts.memory)}; build image {state}"
    return Finding("engine", "ok", said)


def build_image(scene: Scene) -> str:
    """The image that builds by the docker engine run in."""
    settings = scene.bench.settings
    return settings.build_image or OwnImage("build", scene.bench.flavour().flavour).tag(settings)


def has_build_image(scene: Scene) -> bool:
    return scene.bench.image_engine().find(build_image(scene)) is not None


def build_environment(scene: Scene) -> Finding:
    python = scene.bench.settings.build_python
    if not python.exists():
        level = "ok" if scene.engine_or_none() else "problem"
        return Finding(
            "build environment", level, "the local one is not installed", "`make build-env` installs it; the docker engine needs none."
        )
    try:
        seen = scene.packages()
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding("build environment", "problem", f"{python} does not run: {exc}", "Remove .venv-build, then `make build-env`.")
    lacking = [name for name in NEEDED if name not in seen]
    lacking += [] if {"onnxruntime", "onnxruntime-gpu"} & seen.keys() else ["onnxruntime"]
    if lacking:
        return Finding("build environment", "problem", f"lacks {', '.join(lacking)}", "`make build-env`")
    return Finding("build environment", "ok", ", ".join(f"{name} {version}" for name, version in sorted(seen.items())))
