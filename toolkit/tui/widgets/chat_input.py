"""Where one writes: Enter sends, ctrl+j begins a new line, a long paste is folded so that it costs nothing to draw."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widgets import TextArea

FOLD_CHARACTERS = 2000
FOLD_LINES = 40


class ChatInput(TextArea):
    """One question, of as many lines as it takes."""

    BINDINGS = [
        Binding("enter", "send", "Send", key_display="Enter"),
        Binding("ctrl+j", "new_line", "New line", show=False),
        Binding("escape", "screen.leave_input", "Keys", key_display="Esc"),
        Binding("ctrl+r", "screen.regenerate", "Again"),
        Binding("ctrl+l", "screen.edit", "Edit"),
        Binding("ctrl+n", "screen.new_conversation", "New"),
        Binding("ctrl+o", "screen.choose_model", "Model"),
    ]

    @dataclass
    class Sent(Message):
        text: str

    @dataclass
    class Folded(Message):
        """A text too long to be shown was put in."""

        characters: int

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", placeholder="Ask.  Enter sends, ctrl+j begins a line."
        )
        self.cursor_blink = False
        self._folded: dict[str, str] = {}
        """Marks in the text and what they stand for."""

    @property
    def written(self) -> str:
        """All of it, with what is folded."""
        text = self.text
        for mark, folded in self._folded.items():
            text = text.replace(mark, folded)
        return text

    def give(self, text: str) -> None:
        """Put a text in place of what is there."""
        self.take()
        self._insert_folded(text)

    def take(self) -> None:
        """Empty it."""
        self._folded.clear()
        self.clear()

    def _insert_folded(self, text: str) -> None:
        if len(text) <= FOLD_CHARACTERS and text.count("\n") < FOLD_LINES:
            self.insert(text)
            return
        mark = f"[{len(self._folded) + 1}: {len(text):,} characters]"
        self._folded[mark] = text
        self.insert(mark)
        self.post_message(self.Folded(len(text)))

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        event.stop()
        self._insert_folded(event.text.replace("\r\n", "\n").replace("\r", "\n"))

    async def _on_key(self, event: events.Key) -> None:
        if event.key in ("enter", "escape", "ctrl+j"):
            event.prevent_default()  # ours, and no letters

    def action_send(self) -> None:
        if self.written.strip():
            self.post_message(self.Sent(self.written))

    def action_new_line(self) -> None:
        self.insert("\n")
