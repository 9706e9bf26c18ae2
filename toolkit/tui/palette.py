"""What the command palette offers: every place, and what has no key or a key one forgets."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from toolkit.tui.places import PLACES

if TYPE_CHECKING:
    from toolkit.tui.app import EdgeApp


def commands(app: EdgeApp) -> Iterable[SystemCommand]:
    for place in PLACES:
        yield SystemCommand(f"Go to {place.title}", f"Key {place.key}", partial(app.action_go, place.name))
    yield SystemCommand("Keys of this screen", "Key ?", app.action_help)
    yield SystemCommand("Light or dark", "Key ctrl+t", app.action_change_theme)
    turn, consequence = ("off", "Move as fast as is pleasant") if app.pace.is_slow else ("on", "Fewer bytes: fewer pictures, no animation")
    yield SystemCommand(f"Slow connection: {turn}", consequence, app.action_change_pace)
    yield SystemCommand("Save a picture of the screen", "An SVG file in the pictures folder", partial(app.call_later, save_picture, app))
    yield SystemCommand("Quit", "Key ctrl+q; runs go on without the terminal", app.action_quit)


def save_picture(app: EdgeApp) -> None:
    """Save what is on the screen, and say where."""
    folder = app.bench.settings.home / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    taken = time.strftime("%Y%m%d-%H%M%S", time.localtime(app.bench.clock()))
    app.notify(f"Saved {app.save_screenshot(f'{taken}.svg', str(folder))}", markup=False)
