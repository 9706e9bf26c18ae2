"""The bottom line: the keys that work here. One widget, where Textual's footer makes one a key and all anew at every change."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

from toolkit.tui.key_names import key_name

LAST = "help"
"""Action of the key that is never left out, since it names all others."""


@dataclass(frozen=True)
class Shown:
    """A key and what it does. `is_possible` is False where it does nothing just now."""

    key: str
    name: str
    what: str
    action: str
    is_possible: bool = True

    @property
    def width(self) -> int:
        return len(self.name) + 1 + len(self.what)


class KeyBar(Widget):
    COMPONENT_CLASSES = {"key-bar--key", "key-bar--what", "key-bar--impossible"}
    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[Shown, ...] = ()

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._look_again)

    def _look_again(self, screen: Screen) -> None:
        """Paint only where a key came, went, or changed."""
        shown = _of(screen)
        if self.app.app_focus and shown != self._shown:
            self._shown = shown
            self.refresh()

    def render(self) -> Content:
        key, what, impossible = (self.get_visual_style(name) for name in ("key-bar--key", "key-bar--what", "key-bar--impossible"))
        parts: list[Content] = []
        for one in fitting(self._shown, self.size.width):
            styles = (key, what) if one.is_possible else (impossible, impossible)
            parts.append(Content.assemble((one.name, styles[0]), (f" {one.what}", styles[1])))
        return Content(_gap(self._shown, self.size.width)).join(parts)

    def on_click(self, event: events.Click) -> None:
        left = 0
        gap = len(_gap(self._shown, self.size.width))
        for one in fitting(self._shown, self.size.width):
            if left <= event.x < left + one.width and one.is_possible:
                self.app.simulate_key(one.key)
                return
            left += one.width + gap


def _of(screen: Screen) -> tuple[Shown, ...]:
    """The keys of the screen and of what has the focus, each action once."""
    is_typing = isinstance(screen.focused, (Input, TextArea))  # there `?` is text
    shown: dict[str, Shown] = {}
    for _, binding, is_possible, _ in screen.active_bindings.values():
        if binding.show and binding.description and binding.action not in shown:
            key, name = (binding.key, key_name(binding)) if binding.action != LAST or not is_typing else ("f1", "F1")
            shown[binding.action] = Shown(key, name, binding.description, binding.action, is_possible)
    return tuple(shown.values())


def fitting(shown: tuple[Shown, ...], width: int) -> tuple[Shown, ...]:
    """As many as the line holds, from the left; the key that names all others stays."""
    last = tuple(one for one in shown if one.action == LAST)
    kept: tuple[Shown, ...] = ()
    for one in shown:
        if one.action != LAST and _width(kept + (one, *last), 1) <= width:
            kept += (one,)
    return kept + last


def _gap(shown: tuple[Shown, ...], width: int) -> str:
    """Between two keys: two columns where there is room."""
    return "  " if _width(shown, 2) <= width else " "


def _width(shown: tuple[Shown, ...], gap: int) -> int:
    return sum(one.width for one in shown) + gap * max(0, len(shown) - 1)
