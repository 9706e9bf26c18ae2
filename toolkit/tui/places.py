"""The places of the top bar, each a screen that is made when it is first gone to."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from textual.screen import Screen

from toolkit.core.workbench import Workbench


@dataclass(frozen=True)
class Place:
    key: str
    name: str
    title: str
    screen: str
    """Class in the module `toolkit.tui.screens.<name>`."""

    def make(self, bench: Workbench) -> Screen:
        module = importlib.import_module(f"toolkit.tui.screens.{self.name}")
        return getattr(module, self.screen)(bench)


PLACES = (
    Place("1", "home", "Runs", "HomeScreen"),
    Place("2", "new", "New run", "NewRunScreen"),
    Place("3", "images", "Images", "ImagesScreen"),
    Place("4", "chat", "Chat", "ChatScreen"),
    Place("5", "publish", "Publish", "PublishScreen"),
    Place("6", "doctor", "Doctor", "DoctorScreen"),
)
