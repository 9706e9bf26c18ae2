"""Every key that works where one is, read from the bindings themselves."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from toolkit.tui.key_names import key_name


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
            rows.setdefault((binding.action, binding.description), []).append(key_name(binding))
    return [(", ".join(dict.fromkeys(keys)), what) for (_, what), keys in rows.items()]
