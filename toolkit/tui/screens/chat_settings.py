"""How answers are sampled, what the model is told first, and what its container may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from toolkit.core.chat import Sampling


@dataclass(frozen=True)
class ChatSettings:
    sampling: Sampling = Sampling()
    system: str = ""
    memory_mb: int | None = None
    """None: as the device has it."""
    cpus: float | None = None


@dataclass(frozen=True)
class _Field:
    name: str
    label: str
    note: str
    read: Callable[[str], object]
    is_right: Callable[[object], bool]


def _or_none(read: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: read(text) if text else None


FIELDS = (
    _Field("temperature", "Temperature", "0 to 2; 0: always the likeliest", float, lambda value: 0 <= value <= 2),
    _Field("top_p", "Top-p", "0 to 1; 1: among all", float, lambda value: 0 < value <= 1),
    _Field("max_tokens", "Longest answer", "in tokens", int, lambda value: value >= 1),
    _Field("seed", "Seed", "empty: a new one each time", _or_none(int), lambda value: value is None or value >= 0),
    _Field("memory_mb", "Memory in MB", "from 64; empty: the device's", _or_none(int), lambda value: value is None or value >= 64),
    _Field("cpus", "CPUs", "above 0; empty: the device's", _or_none(float), lambda value: value is None or value > 0),
    _Field("system", "System prompt", "", str, lambda value: True),
)
SAMPLING = ("temperature", "top_p", "max_tokens", "seed")


class ChatSettingsScreen(ModalScreen[ChatSettings | None]):
    BINDINGS = [Binding("escape", "dismiss", "Cancel"), Binding("ctrl+s", "apply", "Apply")]
    CSS_PATH = "chat_settings.tcss"

    def __init__(self, settings: ChatSettings, needed_mb: int = 0) -> None:
        super().__init__(classes="dialog")
        self._settings, self._needed_mb = settings, needed_mb

    def compose(self) -> ComposeResult:
        with VerticalScroll(can_focus=False):
            yield Static("Sampling, and limits of the device", classes="question")
            for field in FIELDS:
                with Horizontal(classes="field"):
                    yield Static(field.label, classes="label")
                    yield Input(self._shown(field), id=field.name)
                    if field.note:
                        yield Static(field.note, classes="note")
            yield Static("", id="wrong", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Apply (^s)", id="apply", compact=True)
                yield Button("Cancel (Esc)", id="cancel", compact=True)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#temperature", Input).focus()

    def _shown(self, field: _Field) -> str:
        holder = self._settings.sampling if field.name in SAMPLING else self._settings
        value = getattr(holder, field.name)
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    @on(Input.Changed, "#memory_mb")
    def warn_of_little_memory(self, event: Input.Changed) -> None:
        """Before it is applied: the model may be killed at once."""
        wanted = event.value.strip()
        is_little = wanted.isdecimal() and int(wanted) < self._needed_mb
        warning = f"! The model needs about {self._needed_mb} MB: with {wanted} MB it may be killed." if is_little else ""
        self.query_one("#wrong", Static).update(warning)

    @on(Input.Submitted)
    def action_apply(self) -> None:
        values: dict[str, object] = {}
        for field in FIELDS:
            shown = self.query_one(f"#{field.name}", Input)
            try:
                values[field.name] = value = field.read(shown.value.strip())
                if not field.is_right(value):
                    raise ValueError
            except ValueError:
                self.query_one("#wrong", Static).update(f"! {field.label}: {field.note}.")
                shown.focus()
                return
        sampling = Sampling(**{name: values.pop(name) for name in SAMPLING})
        self.dismiss(ChatSettings(sampling, **values))

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "apply":
            self.action_apply()
        else:
            self.dismiss(None)

    def action_dismiss(self) -> None:  # type: ignore[override]
        self.dismiss(None)
