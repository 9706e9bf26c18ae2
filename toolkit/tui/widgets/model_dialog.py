"""What a model is registered with, beside its name and version: type, description, tags."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from toolkit.core.publish_start import MODEL_TYPES
from toolkit.errors import PublishError


@dataclass(frozen=True)
class Details:
    type: str = MODEL_TYPES[0]
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """What was chosen, for people; empty: nothing was."""
        told = [self.type] if self.type != MODEL_TYPES[0] else []
        told += ["a description"] if self.description else []
        told += [f"{len(self.tags)} tag{'s' if len(self.tags) > 1 else ''}"] if self.tags else []
        return ", ".join(told)


def parse_tags(text: str) -> dict[str, str]:
    """`KEY=VALUE` each, divided by spaces; quotes keep a value with spaces together.

    Raises:
        PublishError: one of them is no such pair.
    """
    try:
        words = shlex.split(text)
    except ValueError as exc:
        raise PublishError("A quotation mark is not closed.", "Close it.") from exc
    pairs = [word.partition("=") for word in words]
    wrong = [key for key, sign, _ in pairs if not (key and sign)]
    if wrong:
        raise PublishError(f"'{wrong[0]}' is no tag.", "Write KEY=VALUE.")
    return {key: value for key, _, value in pairs}


def tags_in_words(tags: Mapping[str, str]) -> str:
    return " ".join(shlex.quote(f"{key}={value}") for key, value in tags.items())


class ModelDialog(ModalScreen[Details | None]):
    """None: thought better of it."""

    BINDINGS = [Binding("escape", "leave", "Cancel")]
    DEFAULT_CSS = """
    ModelDialog .line { height: 1; margin-bottom: 1; }
    ModelDialog .line Label { width: 13; color: $text-muted; }
    ModelDialog .line Input, ModelDialog .line Select { width: 1fr; }
    ModelDialog #wrong { color: $error; height: auto; margin-bottom: 1; display: none; }
    """

    def __init__(self, details: Details) -> None:
        super().__init__(classes="dialog")
        self._details = details

    def compose(self) -> ComposeResult:
        known = self._details
        with Vertical():
            yield Static("The model in the store", markup=False, classes="question")
            with Horizontal(classes="line"):
                yield Label("Type")
                yield Select([(name, name) for name in MODEL_TYPES], value=known.type, allow_blank=False, id="type")
            with Horizontal(classes="line"):
                yield Label("Description")
                yield Input(known.description, placeholder="none", id="description")
            with Horizontal(classes="line"):
                yield Label("Tags")
                yield Input(tags_in_words(known.tags), placeholder="KEY=VALUE KEY=VALUE ...", id="tags")
            yield Static("", markup=False, id="wrong")
            yield Static("What it came from is added by itself, as properties: recipe, data, base model, metrics.", classes="consequence")
            with Horizontal():
                yield Button("Take it (Enter)", id="take", variant="primary")
                yield Button("Cancel (Esc)", id="cancel")

    def on_mount(self) -> None:
        for input_ in self.query(Input):
            input_.cursor_blink = False
        self.query_one("#description", Input).focus()

    @on(Input.Changed, "#tags")
    def changed(self, event: Input.Changed) -> None:
        event.input.remove_class("-invalid")

    @on(Input.Submitted)
    @on(Button.Pressed, "#take")
    def take(self) -> None:
        tags = self.query_one("#tags", Input)
        try:
            parsed = parse_tags(tags.value)
        except PublishError as exc:
            wrong = self.query_one("#wrong", Static)
            wrong.update(str(exc))
            wrong.display = True
            tags.add_class("-invalid")
            tags.focus()
            return
        self.dismiss(Details(str(self.query_one("#type", Select).value), self.query_one("#description", Input).value.strip(), parsed))

    @on(Button.Pressed, "#cancel")
    def action_leave(self) -> None:
        self.dismiss(None)
