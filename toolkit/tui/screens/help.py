"""Every key that works where one is, read from the bindings themselves."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

KEY_NAMES = {"question_mark": "?", "slash": "/", "enter": "Enter", "escape": "Esc", "space": "Space", "left_square_bracket": "["}


class HelpScreen(ModalScreen[None]):
    BINDINGS = [Binding("escape,question_mark,q,f1", "app.pop_screen", "Close")]

    def __init__(self, over: Screen) -> None:
        super().__init__(classes="dialog")
        self._rows = _rows_of(over)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static("Keys here", classes="question")
            yield Static("\n".join(f"{key:>14}  {what}" for key, what in self._rows), markup=False)
            yield Static("Esc: close", classes="keys")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _rows_of(screen: Screen) -> list[tuple[str, str]]:
    """(key, what it does) of everything active on the screen, its own first."""
    rows = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.description:
            rows.setdefault((binding.action, binding.description), []).append(_shown(binding))
    return [(", ".join(dict.fromkeys(keys)), what) for (_, what), keys in rows.items()]


def _shown(binding: Binding) -> str:
    if binding.key_display:
        return binding.key_display
    return KEY_NAMES.get(binding.key, binding.key.replace("ctrl+", "^"))
