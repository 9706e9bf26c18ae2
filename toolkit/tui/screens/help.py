"""Every key that works where one is, read from the bindings themselves."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from toolkit.tui.key_names import is_moving, is_ours, key_name


class HelpScreen(ModalScreen[None]):
    BINDINGS = [Binding("escape,question_mark,q,f1", "app.pop_screen", "Close")]

    def __init__(self, over: Screen) -> None:
        super().__init__(classes="dialog")
        self._groups = _groups_of(over)

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static("Keys here", classes="question")
            for group, rows in self._groups.items():
                yield Static(group, classes="consequence")
                yield Static("\n".join(f"{key:>14}  {what}" for key, what in rows) + "\n", markup=False)
            yield Static("Esc: close", classes="keys")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


def _groups_of(screen: Screen) -> dict[str, list[tuple[str, str]]]:
    """Group -> (key, what it does) of everything active on the screen, its own first; of the toolkit underneath nothing."""
    groups = {"This place": {}, "Moving": {}, "Everywhere": {}}
    for node, binding, _, _ in screen.active_bindings.values():
        if binding.description and is_ours(node, binding):
            group = "Everywhere" if node is screen.app else "Moving" if is_moving(binding) else "This place"
            groups[group].setdefault((binding.action, binding.description), []).append(key_name(binding))
    groups["Everywhere"][("", "Find any action")] = ["^p"]
    return {group: [(", ".join(dict.fromkeys(keys)), what) for (_, what), keys in rows.items()] for group, rows in groups.items() if rows}
