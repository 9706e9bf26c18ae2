"""The only place where the real Docker and the real Azure are chosen. Imports what is heavy only when it is asked for."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from toolkit import settings as settings_module
from toolkit.core import flavour as flavours
from toolkit.core.choices import workspace_of
from toolkit.core.cloud import Cloud
from toolkit.core.engine import BuildEngine, ChatHost, ImageEngine
from toolkit.core.flavour import AUTO, Choice
from toolkit.core.images import OwnImage
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing
from toolkit.settings import Settings


def make_workbench(settings: Settings | None = None, engine: str = "", flavour: str = "") -> Workbench:
    """A workbench over the engines of this machine. `engine` and `flavour` win over the settings."""
    chosen = settings or settings_module.load()
    if engine:
        chosen = replace(chosen, engine=engine)
    if flavour:
        chosen = replace(chosen, flavour=flavour)
    chosen = replace(chosen, build_python=_build_python(chosen), workspace=workspace_of(chosen))
    choice = functools.cache(lambda: _flavour(chosen))
    return Workbench(
        settings=chosen,
        build_engine=lambda name: _build_engine(chosen, name, choice),
        host_driver=lambda secrets: _host_driver(chosen, secrets),
        image_engine=lambda: _docker(chosen, choice),
        local_chat=lambda: _local(chosen),
        fetch_asset=lambda uri, folder, say: _fetch_asset(chosen, uri, folder, say),
        flavour=choice,
        cloud=functools.cache(lambda: _azure(chosen)),
    )


def _build_python(settings: Settings) -> Path:
    """The Python of the local build environment of the flavour that is to be used."""
    made = settings.environments()
    gpu = flavours.gpu_here() if made and settings.flavour == AUTO else flavours.Gpu()  # the driver is slow to ask
    return settings.environment(flavours.for_environment(settings.flavour, gpu, made))


def _flavour(settings: Settings) -> Choice:
    """The flavour of the build image. The engine is asked only where there is a driver."""
    gpu = flavours.gpu_here()
    runtimes = _docker(settings).facts().runtimes if gpu.flavours else ()
    return flavours.for_engine(settings.flavour, gpu, runtimes)


def _build_engine(settings: Settings, name: str, choice: Callable[[], Choice]) -> BuildEngine:
    if name == "local":
        return _local(settings)
    if name == "docker":
        return _docker(settings, choice)
    try:
        return _docker(settings, choice)
    except EngineMissing:
        return _local(settings)


def _docker(settings: Settings, choice: Callable[[], Choice] = lambda: Choice("cpu", "")) -> ImageEngine:
    from toolkit.docker_engine import BuildImage, DockerEngine, connect

    def image() -> BuildImage:
        own = OwnImage("build", choice().flavour).tag(settings)
        return BuildImage(settings.build_image or own, with_gpu=choice().uses_gpu)

    return DockerEngine(connect(), build_image=image, mounts={str(settings.cache): True}, build_memory_mb=settings.build_memory_mb)


def _local(settings: Settings) -> ChatHost:
    from toolkit.local_engine import LocalEngine

    return LocalEngine(settings)


def _host_driver(settings: Settings, secrets: bytes) -> BuildEngine:
    from toolkit.local_engine import HostDriver

    return HostDriver(settings, secrets)


def _fetch_asset(settings: Settings, uri: str, folder: str, say: Callable[[str], None]) -> None:
    from deploy.azureml import fetch_model

    fetch_model(settings, uri, folder, say)


def _azure(settings: Settings) -> Cloud:
    from toolkit.core.workbench import no_cloud

    if importlib.util.find_spec("azure") is None or importlib.util.find_spec("azure.identity") is None:
        return no_cloud()
    from deploy.cloud import Azure

    return Azure(settings)
