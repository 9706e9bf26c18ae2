"""Over the New-run screen: the list of recipes to choose from, and what is being done before a run starts."""

from __future__ import annotations

import time
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
    """What is done before the run itself. Escape gives it up, and is offered until the run is being made."""

    BINDINGS = [Binding("escape", "leave", "Give up")]
    DEFAULT_CSS = "Starting #said { height: 1; margin-bottom: 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self) -> None:
        super().__init__(classes="dialog")
        self.is_given_up = False
        self._is_bound = self._is_over = False
        self._title, self._line, self._keys = "Starting", "Looking at recipe, model and data", "Esc: give it up; nothing is started then"
        self._since = time.monotonic()

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(markup=False, classes="question")
            yield Static(markup=False, id="said")
            yield Static(markup=False, classes="keys")

    def on_mount(self) -> None:
        self._draw()
        self.set_interval(1.0, self._draw)

    def on_screen_resume(self) -> None:
        if self._is_over and self.is_current:
            self.dismiss(False)

    def head(self, title: str) -> None:
        self._title = title

    def say(self, line: str) -> None:
        """From any thread; drawn once a second at most."""
        self._line = line.translate(CONTROLS)

    def _draw(self) -> None:
        seconds = int(time.monotonic() - self._since)
        time_taken = f"  {seconds // 60}:{seconds % 60:02d}" if seconds else ""
        for where, text in ((".question", self._title + time_taken), ("#said", self._line), (".keys", self._keys)):
            if self.query_one(where, Static).content != text:
                self.query_one(where, Static).update(text)

    def bind_over(self) -> bool:
        """From now on the run is made and cannot be given up; False where it was given up before."""
        self._is_bound = not self.is_given_up
        if self._is_bound:
            self._keys = "The run is being made; its screen opens in a moment."
            if self.is_mounted:
                self._draw()
        return self._is_bound

    def finish(self) -> None:
        """Go away, now or once it is on top."""
        self._is_over = True
        if self.is_current:
            self.dismiss(False)

    def action_leave(self) -> None:
        if not self._is_bound:
            self.is_given_up = True
            self.dismiss(True)
