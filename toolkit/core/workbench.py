"""What every front end is handed: settings and engines. It makes none of them; `toolkit.wiring` does."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.cloud import Cloud
from toolkit.core.engine import BuildEngine, ChatHost, ImageEngine
from toolkit.core.files import Disk, disk_of
from toolkit.core.flavour import Choice
from toolkit.core.machine import Sampler
from toolkit.core.run import Run, all_runs, find_run
from toolkit.errors import CloudMissing
from toolkit.settings import CHECKOUT, Settings


def no_cloud() -> Cloud:
    raise CloudMissing("Azure support is not installed.", cloud_hint())


def cloud_hint() -> str:
    """Into the very environment that we run in: another pip knows nothing of it."""
    place = str(CHECKOUT) if (CHECKOUT / "pyproject.toml").exists() else "olive-edge-toolkit"
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.quote(f'{place}[azure]')}"


@dataclass(frozen=True)
class Workbench:
    settings: Settings
    build_engine: Callable[[str], BuildEngine]
    """The engine of a name: docker or local; auto picks docker where one answers.

    Raises EngineMissing where it is not there."""
    host_driver: Callable[[bytes], BuildEngine]
    """Drives packaging and publishing; takes the secrets it hands on through a pipe."""
    image_engine: Callable[[], ImageEngine]
    """Raises EngineMissing where none answers."""
    local_chat: Callable[[], ChatHost]
    fetch_asset: Callable[[str, str, Callable[[str], None]], None]
    """Fetch an `azureml://` model asset into a folder, and say how far it is."""
    flavour: Callable[[], Choice] = lambda: Choice("cpu", "the only one here")
    """What builds in images compute with on this machine.

    Raises EngineError where what was chosen cannot run here."""
    cloud: Callable[[], Cloud] = no_cloud
    """Raises CloudMissing where its libraries are not installed."""
    clock: Callable[[], float] = time.time
    """Seconds since the epoch; ages and estimates are told by it."""

    sampler: Callable[[], Sampler] = Sampler
    """Makes one that says how busy this machine is."""
    disk: Callable[[Path], Disk] = disk_of
    """The disk that a path is or will be on."""

    def runs(self) -> list[Run]:
        return all_runs(self.settings.runs)

    def run(self, wanted: str) -> Run:
        return find_run(self.settings.runs, wanted)

    def engine_of(self, run: Run) -> BuildEngine:
        """The engine that drives this run, by its request."""
        return self.build_engine(run.request["engine"]) if run.kind == "build" else self.host_driver(b"")
