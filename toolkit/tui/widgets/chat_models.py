"""A list of what can be talked to: every packaged image and folder, with its base and each of its adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from toolkit.core.chatroom import Wanted
from toolkit.core.files import as_size
from toolkit.core.stock import Packed, Stock
from toolkit.tui.harmless import harmless_line


class ModelList(OptionList):
    """Choosing one says `Chosen`."""

    BINDINGS = [Binding("j", "cursor_down", "Down", show=False), Binding("k", "cursor_up", "Up", show=False)]

    @dataclass
    class Chosen(Message):
        wanted: Wanted

    def show(self, rows: Sequence[Packed], first: str = "") -> None:
        """List these anew, in their order; `first` goes before all."""
        rows = sorted(rows, key=lambda row: row.reference != first)
        self._offers = [Wanted(row.reference, adapter) for row in rows for adapter in row.models]
        options = [Option(_line(row, adapter)) for row in rows for adapter in row.models]
        self.clear_options()
        self.add_options(options)
        if options:
            self.highlighted = 0

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(self._offers[event.option_index]))


def _line(row: Packed, adapter: str) -> Text:
    """The image on the line of what it has first, mostly its base; the other adapters below it."""
    if adapter != row.models[0]:
        return Text(f"   + {harmless_line(adapter)}", no_wrap=True)
    text = Text(harmless_line(row.reference), no_wrap=True, overflow="ellipsis")
    made_by = "another home" if row.is_strange else "a local folder" if row.is_folder else row.runs[-1] if row.runs else row.identity[7:19]
    return text.append(f"  {harmless_line(adapter) or 'base'}  {as_size(row.bytes)}, {made_by}", "dim")


class ChooseModel(ModalScreen[Wanted | None]):
    BINDINGS = [Binding("escape", "dismiss", "Cancel")]

    def __init__(self, question: str, known: Stock, first: str = "") -> None:
        super().__init__(classes="dialog")
        self._question, self._known, self._first = question, known, first

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False, classes="question")
            if self._known.problem is not None:
                yield Static(f"! {self._known.problem}", markup=False, classes="consequence")
            yield ModelList()
            yield Static("Enter: choose    Esc: cancel", markup=False, classes="keys")

    def on_mount(self) -> None:
        listed = self.query_one(ModelList)
        listed.show(self._known.items, self._first)
        listed.focus()

    @on(ModelList.Chosen)
    def chosen(self, event: ModelList.Chosen) -> None:
        self.dismiss(event.wanted)

    def action_dismiss(self) -> None:  # type: ignore[override]
        self.dismiss(None)
