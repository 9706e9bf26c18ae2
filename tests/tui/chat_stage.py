"""A stage whose chats are real: packaged folders served by the real server, with a stand-in for the library that runs models."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from textual.pilot import Pilot

from tests.containers.runtime.conftest import RUNTIME, make_stub_model
from tests.tui.stage import Stage, until
from toolkit.core import events as ev
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.local_engine import LocalEngine
from toolkit.tui.screens.chat import ChatScreen
from toolkit.tui.widgets.chat_side import READY, ChatSide


@dataclass
class ChatStage(Stage):
    """`environ` is what the servers see; `servers` are those that were started."""

    max_length: int = 200
    made: list[LocalEngine] = field(default_factory=list)

    @property
    def bench(self) -> Workbench:
        settings = replace(self.settings, build_python=Path(sys.executable), containers=RUNTIME.parent)
        return replace(super().bench, settings=settings, local_chat=lambda: LocalEngine(settings))

    def packaged(self, name: str = "travel") -> Run:
        """A finished packaging whose content is the stub model, with the adapters museum and travel."""
        run = self.add_run("package", name, ("collect", "smoke"))
        request = run.request
        for step in request["steps"]:
            step["options"] = {"engine": "local", "build": "0001-build-travel", "device": "cpu"}
        (run.folder / "request.json").write_text(json.dumps(request))
        run.append(ev.RunFinished(seconds=1))
        content = run.folder / "content"
        make_stub_model(content)
        config_file = content / "model" / "genai_config.json"
        config_file.write_text(json.dumps({"model": {"context_length": self.max_length, "eos_token_id": [0]}}))
        config = {"format": 1, "device": "cpu", "max_length": self.max_length, "adapters": ["museum", "travel"]}
        (content / "device.json").write_text(json.dumps(config))
        return run


def screen_of(pilot: Pilot) -> ChatScreen:
    return pilot.app.get_screen("chat", ChatScreen)


async def seated(pilot: Pilot, run: Run) -> ChatScreen:
    """The chat screen with the base of a packaged run ready to be asked."""
    await pilot.press("4")
    screen = screen_of(pilot)
    screen.choose(run.id)
    await until(pilot, lambda: screen.left.state == READY)
    return screen


async def ask(pilot: Pilot, text: str, side: Callable[[ChatScreen], ChatSide] = lambda screen: screen.left) -> None:
    """Ask, and wait for the whole answer."""
    screen = screen_of(pilot)
    before = len(side(screen).turns)
    screen.input.focus()
    screen.input.give(text)
    await pilot.press("enter")
    await until(pilot, lambda: all(each.state == READY for each in screen.sides) and len(side(screen).turns) == before + 1)
