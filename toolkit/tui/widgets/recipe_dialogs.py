"""Over the New-run screen: the list of recipes to choose from, and what is being done before a run starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from toolkit.core.recipe_text import RecipeFile
from toolkit.tui.widgets.dataset_view import CONTROLS

ORIGINS = {"sample": "the built-in sample", "yours": "yours", "here": "in this folder"}


class ChooseRecipe(ModalScreen[Path | None]):
    """The recipes there are; None where the person thought better of it."""

    BINDINGS = [Binding("escape", "leave", "Cancel")]

    def __init__(self, files: Sequence[RecipeFile]) -> None:
        super().__init__(classes="dialog")
        self._files = files

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Open which recipe?", markup=False, classes="question")
            yield OptionList(*(Option(_line(file)) for file in self._files), markup=False)
            yield Static("Enter: open    Esc: cancel", markup=False, classes="keys")

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    @on(OptionList.OptionSelected)
    def selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._files[event.option_index].path)

    def action_leave(self) -> None:
        self.dismiss(None)


def _line(file: RecipeFile) -> str:
    return f"{file.path.stem:<16} {ORIGINS[file.origin]}: {file.path}".translate(CONTROLS)


class Starting(ModalScreen[bool]):
    """What is done before the run itself; True where Escape gave it up."""

    BINDINGS = [Binding("escape", "leave", "Give up")]

    def __init__(self) -> None:
        super().__init__(classes="dialog")
        self._lines: deque[str] = deque(["Looking at recipe, model and data"], maxlen=8)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Starting", markup=False, classes="question")
            yield Static("\n".join(self._lines), markup=False, id="said")
            yield Static("Esc: give it up; nothing is started then", markup=False, classes="keys")

    def say(self, line: str) -> None:
        self._lines.append(line.translate(CONTROLS))
        self.query_one("#said", Static).update("\n".join(self._lines))

    def action_leave(self) -> None:
        self.dismiss(True)
