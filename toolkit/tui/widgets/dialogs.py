"""Small questions over a screen: yes or no, or one line of text. Escape always means no."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

COPIED = "Copied, if this terminal lets programs copy."
"""Nothing answers a terminal's copying: it cannot be known."""


class Confirm(ModalScreen[bool]):
    """A question with its consequence. `y` does it; `n`, Escape and Enter on No do not."""

    BINDINGS = [Binding("y", "answer(True)", "Yes"), Binding("n,escape", "answer(False)", "No")]

    def __init__(self, question: str, consequence: str = "", yes: str = "Yes") -> None:
        super().__init__(classes="dialog")
        self._question, self._consequence, self._yes = question, consequence, yes

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False, classes="question")
            if self._consequence:
                yield Static(self._consequence, markup=False, classes="consequence")
            with Horizontal():
                yield Button(f"{self._yes} (y)", id="yes", variant="error", compact=True)
                yield Button("No (n)", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


class AskText(ModalScreen[str | None]):
    """One line of text; None where the person thought better of it."""

    BINDINGS = [Binding("escape", "dismiss", "Cancel")]

    def __init__(self, question: str, value: str = "", note: str = "", is_secret: bool = False) -> None:
        super().__init__(classes="dialog")
        self._question, self._value, self._note, self._is_secret = question, value, note, is_secret

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False, classes="question")
            yield Input(self._value, password=self._is_secret, compact=True)
            if self._note:
                yield Static(self._note, markup=False, classes="consequence")
            yield Static("Enter: go on    Esc: cancel", markup=False, classes="keys")

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_dismiss(self) -> None:  # type: ignore[override]
        self.dismiss(None)
