"""The only place where the real Docker and the real Azure are chosen. Imports what is heavy only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from toolkit import settings as settings_module
from toolkit.core.engine import BuildEngine, ChatHost, ImageEngine
from toolkit.core.images import OwnImage
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing
from toolkit.settings import Settings


def make_workbench(settings: Settings | None = None, engine: str = "") -> Workbench:
    """A workbench over the engines of this machine. `engine` wins over the settings."""
    chosen = settings or settings_module.load()
    if engine:
        chosen = replace(chosen, engine=engine)
    return Workbench(
        settings=chosen,
        build_engine=lambda name: _build_engine(chosen, name),
        host_driver=lambda secrets: _host_driver(chosen, secrets),
        image_engine=lambda: _docker(chosen),
        local_chat=lambda: _local(chosen),
        fetch_asset=_fetch_asset,
    )


def _build_engine(settings: Settings, name: str) -> BuildEngine:
    if name == "local":
        return _local(settings)
    if name == "docker":
        return _docker(settings)
    try:
        return _docker(settings)
    except EngineMissing:
        return _local(settings)


def _docker(settings: Settings) -> ImageEngine:
    from toolkit.docker_engine import DockerEngine, connect

    image = settings.build_image or OwnImage("build", "cpu").tag(settings)
    return DockerEngine(connect(), build_image=image, mounts={str(settings.cache): True}, build_memory_mb=settings.build_memory_mb)


def _local(settings: Settings) -> ChatHost:
    from toolkit.local_engine import LocalEngine

    return LocalEngine(settings)


def _host_driver(settings: Settings, secrets: bytes) -> BuildEngine:
    from toolkit.local_engine import HostDriver

    return HostDriver(settings, secrets)


def _fetch_asset(uri: str, folder: str, say: Callable[[str], None]) -> None:
    from deploy.azureml import fetch_model

    fetch_model(uri, folder, say)
