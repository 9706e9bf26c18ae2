"""What the command palette offers: every place, and what has no key or a key one forgets."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand
from textual.binding import Binding
from textual.screen import Screen

from toolkit.tui.key_names import is_ours, key_name
from toolkit.tui.messages import ShowRun
from toolkit.tui.places import PLACES

if TYPE_CHECKING:
    from toolkit.tui.app import EdgeApp


def commands(app: EdgeApp, screen: Screen) -> Iterable[SystemCommand]:
    yield from actions(app, screen)
    for row in reversed(app.roster.seen):
        yield SystemCommand(f"Open run {row.id}", f"{row.kind}, {row.status}", partial(app.post_message, ShowRun(row.id)), discover=False)
    for place in PLACES:
        yield SystemCommand(f"Go to {place.title}", f"Key {place.key}", partial(app.action_go, place.name))
    yield SystemCommand("Keys of this screen", "Key ?", app.action_help)
    yield SystemCommand("Light or dark", "Key ctrl+t", app.action_change_theme)
    yield SystemCommand(
        f"Bell when a run ends: {'off' if app.rings_bell else 'on'}", "The terminal's own; a notice is shown anyway", app.action_change_bell
    )
    turn, consequence = ("off", "Move as fast as is pleasant") if app.pace.is_slow else ("on", "Fewer bytes: fewer pictures, no animation")
    yield SystemCommand(f"Slow connection: {turn}", consequence, app.action_change_pace)
    yield SystemCommand("Save a picture of the screen", "An SVG file in the pictures folder", partial(app.call_later, save_picture, app))
    yield SystemCommand("Quit", "Key ctrl+q; runs go on without the terminal", app.action_quit)


def actions(app: EdgeApp, screen: Screen) -> Iterable[SystemCommand]:
    """What the keys of the screen do that can be done now."""
    told = set()
    for node, binding, is_possible, _ in screen.active_bindings.values():
        if node is app or not is_possible or not binding.description or binding.action in told or not is_ours(node, binding):
            continue
        told.add(binding.action)
        yield SystemCommand(_title(binding), f"Key {key_name(binding)}", partial(app.run_action, binding.action, node))


def _title(binding: Binding) -> str:
    """As in the footer; with the whole word where that is a shorter one."""
    word = binding.action
    is_other = word.isalpha() and word.lower() not in binding.description.lower()
    return f"{binding.description} ({word})" if is_other else binding.description


def save_picture(app: EdgeApp) -> None:
    """Save what is on the screen, and say where."""
    folder = app.bench.settings.home / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    taken = time.strftime("%Y%m%d-%H%M%S", time.localtime(app.bench.clock()))
    app.notify(f"Saved {app.save_screenshot(f'{taken}.svg', str(folder))}", markup=False)
