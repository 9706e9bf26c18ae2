"""Where the terminal UI is tried: the real app over a real home, with engines that follow a script and a clock that stands."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from textual.pilot import Pilot

from tests.fake_cloud import FakeCloud
from tests.fakes import FakeEngine, FakeImages
from toolkit.core import events as ev
from toolkit.core.files import Disk
from toolkit.core.machine import Sample
from toolkit.core.run import Run, new_run
from toolkit.core.workbench import Workbench, no_cloud
from toolkit.errors import EngineMissing
from toolkit.settings import CHECKOUT, Settings
from toolkit.tui.app import EdgeApp
from toolkit.tui.pace import NORMAL, Pace

NOW = 1_790_000_000.0
"""What the clock says: fixed, so that pictures of screens do not change."""
SMALL, LARGE = (80, 24), (120, 40)
RECIPE = json.loads(json.dumps({"name": "travel", "adapters": [{"name": "travel"}], "export": {"context_length": 0}}))
STEPS = ("quantize", "finetune-travel", "export-cpu", "adapter-cpu-travel", "evaluate-cpu-travel")


class StillMachine:
    """A machine that is always as busy."""

    def sample(self) -> Sample:
        return Sample(cpu=0.4, memory=6_200_000_000, memory_total=16_000_000_000)


@dataclass
class Stage:
    """A home, its engines, and the app over them. `is_engine_down` takes the image engine away and gives it back."""

    folder: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    images: FakeImages = field(default_factory=FakeImages)
    is_engine_down: bool = False
    secrets: list[bytes] = field(default_factory=list)
    """What went through the pipe to drivers."""
    cloud: FakeCloud | None = None
    """None: its libraries are not installed."""
    workspace: str = ""
    """That the settings name."""

    @property
    def settings(self) -> Settings:
        return Settings(home=self.folder / "home", theme="dark", devices=CHECKOUT / "data" / "devices", workspace=self.workspace)

    @property
    def bench(self) -> Workbench:
        return Workbench(
            settings=self.settings,
            build_engine=lambda name: self._up(self.engine),
            host_driver=self._driver,
            image_engine=lambda: self._up(self.images),
            local_chat=lambda: self.images,
            fetch_asset=lambda uri, folder, say: None,
            cloud=lambda: self.cloud or no_cloud(),
            clock=lambda: NOW,
            sampler=StillMachine,
            disk=lambda path: Disk(free=120_000_000_000, total=500_000_000_000),
        )

    def _driver(self, secrets: bytes) -> FakeEngine:
        if secrets not in (b"", b"{}"):
            self.secrets.append(secrets)
        return self.engine

    def _up(self, engine):
        if self.is_engine_down:
            raise EngineMissing("The Docker engine does not answer.", "Start it: `sudo systemctl start docker`.")
        return engine

    def app(self, pace: Pace = NORMAL) -> EdgeApp:
        return EdgeApp(self.bench, pace)

    def add_run(
        self,
        kind: str = "build",
        name: str = "travel",
        steps: tuple[str, ...] = STEPS,
        age: float = 3600,
        options: dict | None = None,
        **request: object,
    ) -> Run:
        """A run that was requested `age` seconds ago, with no driver; `tell` says what happened in it."""
        listed = [{"name": step, "kind": step.split("-")[0], "options": options or {}, "inputs": {}} for step in steps]
        asked = {"engine": "fake", "recipe": {**RECIPE, "name": name}, "steps": listed, **request}
        run = new_run(self.settings.runs, kind, name, lambda _: asked)
        run.append(ev.RunRequested(at=NOW - age, run=run.id, kind=kind, steps=steps))
        return run

    def drive(self, run: Run) -> None:
        """Let the fake engine hold the run, as a living driver does."""
        with run.locked() as lock:
            self.engine.start(run, lock)


async def until(pilot: Pilot, condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition, never for a time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to pass; the screen:\n{text_of(pilot.app)}"
        await asyncio.sleep(0.01)
        await pilot.pause()


async def stands_still(pilot: Pilot) -> None:
    """Wait until three looks in a row see the same screen: a layout that is under way is not a picture."""
    seen: list[str] = []
    while len(seen) < 3 or len(set(seen[-3:])) > 1:
        await pilot.pause(0.02)
        seen.append(text_of(pilot.app))
        assert len(seen) < 500, f"the screen does not come to rest:\n{seen[-1]}"


def text_of(app: EdgeApp) -> str:
    """What a person reads on the screen, without colours."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join(strip.crop(0, width).text.rstrip() for strip in lines[:height])
