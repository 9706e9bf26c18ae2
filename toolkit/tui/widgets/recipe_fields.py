"""The rows of a recipe's form, one for each kind of key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Select, Static, TextArea

from toolkit.core.device import Device
from toolkit.core.files import as_size
from toolkit.core.recipe import SAMPLE_MODEL
from toolkit.core.recipe_form import FormField, shown
from toolkit.tui.widgets.toggles import Tick

DEFAULT = "\0default"
"""Chosen in a list: the key is left out of the recipe."""
MODELS = {
    "sample": ("built-in sample", ""),
    "folder": ("a folder", "./model"),
    "hub": ("Hugging Face", "owner/name"),
    "azureml": ("Azure ML", "azureml://registries/NAME/models/NAME/versions/1"),
}
"""Where a base model may come from: kind -> (words, what is typed)."""


def default_text(field: FormField) -> str:
    """What holds where the recipe says nothing."""
    if field.is_required:
        return "needed"
    if field.kind == "flag":
        return "yes" if field.default else "no"
    return shown(field.default) or ("none" if field.kind in ("list", "table") else "empty")


def _input(field: FormField) -> Input:
    """A line to type on; what holds by itself is told as such, and not as if it had been typed."""
    hint = "needed" if field.is_required else f"default: {default_text(field)}"
    box = Input(placeholder=hint, compact=True, select_on_focus=False)
    box.cursor_blink = False
    return box


def _write(box: Input, text: str) -> None:
    """Show a text, with the cursor at its end where it is another one."""
    if box.value != text:
        box.value = text
        box.cursor_position = len(text)


class FieldRow(Vertical):
    """A label, something to edit, and beneath it what is wrong."""

    @dataclass
    class Edited(Message):
        """A person typed or chose this; None: the default shall hold."""

        field: FormField
        text: str | None

    def __init__(self, field: FormField) -> None:
        super().__init__(name=".".join(map(str, field.place)))
        self.field = field
        self.told = ""
        self.misread = ""
        """Why what was typed cannot be a value at all; it stays as typed until it is put right."""
        self.value: Any = None
        """What the recipe says; None where it says nothing."""

    def compose(self) -> ComposeResult:
        with Horizontal(classes="line"):
            yield Static(self.field.label + (" *" if self.field.is_required else ""), markup=False, classes="label")
            yield from self.editor()
        yield Static("", markup=False, classes="wrong")

    def editor(self) -> ComposeResult:
        raise NotImplementedError

    def show(self, value: Any, is_echo: bool = False) -> None:
        """Show what the recipe says; the same again changes nothing. An echo of what was typed here never writes over it."""
        if self.misread and value == self.value:
            return
        self.value, self.misread = value, ""
        self.set_class(value is not None, "-set")
        with self.prevent(Input.Changed, Select.Changed, TextArea.Changed, Checkbox.Changed):
            self.follow(value) if is_echo else self.put(value)

    def follow(self, value: Any) -> None:
        """What stands beside the typed text, after it became this value."""

    def put(self, value: Any) -> None:
        raise NotImplementedError

    def tell(self, wrong: str) -> None:
        """What is wrong with the value; empty: nothing."""
        wrong = self.misread or wrong
        if wrong != self.told:
            self.told = wrong
            self.query_one(".wrong", Static).update(f"! {wrong}" if wrong else "")
            self.set_class(bool(wrong), "-wrong")

    def take_focus(self) -> None:
        next(widget for widget in self.query("*") if widget.focusable).focus()

    def misread_as(self, wrong: str) -> None:
        """What was typed is no value, so the recipe did not change."""
        self.misread = wrong
        self.tell(wrong)

    def edited(self, text: str | None) -> None:
        self.post_message(self.Edited(self.field, text))


class TextRow(FieldRow):
    """One line of text: texts, numbers, lists, tables."""

    def editor(self) -> ComposeResult:
        yield _input(self.field)

    def put(self, value: Any) -> None:
        _write(self.query_one(Input), shown(value))

    @on(Input.Changed)
    def changed(self, event: Input.Changed) -> None:
        event.stop()
        self.edited(event.value if event.value.strip() else None)


class LongRow(FieldRow):
    """Several lines of text."""

    _said = ""
    """What was last shown, or said to have been typed."""

    def editor(self) -> ComposeResult:
        area = TextArea(compact=True, soft_wrap=True, show_line_numbers=False, tab_behavior="focus")
        area.cursor_blink = False
        yield area

    def put(self, value: Any) -> None:
        area, self._said = self.query_one(TextArea), shown(value)
        if area.text != self._said:
            area.load_text(self._said)

    @on(TextArea.Changed)
    def changed(self, event: TextArea.Changed) -> None:
        event.stop()
        if event.text_area.text != self._said:
            self._said = event.text_area.text
            self.edited(self._said or None)


class ChoiceRow(FieldRow):
    """One of a few values, or the default."""

    def editor(self) -> ComposeResult:
        words = {True: "yes", False: "no"} if self.field.kind == "flag" else {}
        values = (True, False) if self.field.kind == "flag" else self.field.choices
        named = [(words.get(value, shown(value)) if words else shown(value), shown(value)) for value in values if value != ""]
        yield Select([(f"{default_text(self.field)} (default)", DEFAULT), *named], allow_blank=False, value=DEFAULT, compact=True)

    def put(self, value: Any) -> None:
        box, text = self.query_one(Select), DEFAULT if value is None or value == "" else shown(value)
        if box.value != text and any(text == known for _, known in box._options):
            box.value = text

    @on(Select.Changed)
    def changed(self, event: Select.Changed) -> None:
        event.stop()
        text = None if event.value == DEFAULT else str(event.value)
        if event.value == event.select.value and text != (None if self.value is None else shown(self.value)):
            self.edited(text)


class ModelRow(FieldRow):
    """Where the base model comes from, and which it is."""

    _kind = "sample"

    def editor(self) -> ComposeResult:
        with Vertical():
            yield Select([(words, kind) for kind, (words, _) in MODELS.items()], allow_blank=False, value="sample", compact=True)
            yield _input(self.field)

    def put(self, value: Any) -> None:
        _write(self.query_one(Input), shown(value))
        self.follow(value)

    def follow(self, value: Any) -> None:
        self._kind = model_kind(shown(value)) or self._kind
        self.query_one(Select).value = self._kind

    @on(Select.Changed)
    def chosen(self, event: Select.Changed) -> None:
        event.stop()
        box, kind = self.query_one(Input), str(event.value)
        if kind not in (self._kind, model_kind(box.value)) and event.value == event.select.value:
            self._kind = kind
            box.value = SAMPLE_MODEL if kind == "sample" else MODELS[kind][1]

    @on(Input.Changed)
    def changed(self, event: Input.Changed) -> None:
        event.stop()
        self.edited(event.value or None)


class DevicesRow(FieldRow):
    """The devices of the catalogue with their facts, to tick."""

    def __init__(self, field: FormField, devices: Mapping[str, Device]) -> None:
        super().__init__(field)
        self._devices = devices

    def editor(self) -> ComposeResult:
        with Vertical(classes="devices"):
            for name, device in self._devices.items():
                yield Tick(f"{name}  {facts_of(device)}".replace("[", "\\["), name=name)

    def put(self, value: Any) -> None:
        named = list(value) if isinstance(value, (list, tuple)) else list(self.field.default if value is None else ())
        for name in named:
            if not any(tick.name == str(name) for tick in self.query(Tick)):
                self.query_one(".devices").mount(Tick(f"{name}  not in the catalogue".replace("[", "\\["), value=True, name=str(name)))
        for tick in self.query(Tick):
            tick.value = tick.name in named

    @on(Checkbox.Changed)
    def changed(self, event: Checkbox.Changed) -> None:
        event.stop()
        self.edited(", ".join(str(tick.name) for tick in self.query(Tick) if tick.value) or "[]")


def facts_of(device: Device) -> str:
    """A device in a few words."""
    return f"{device.platform}, {device.accelerator}, {device.precision}, {device.cpus:g} CPUs, {as_size(device.memory_mb * 1e6)}"


def model_kind(source: str) -> str:
    """sample, folder, hub or azureml; empty while nothing is typed."""
    if source.startswith(("sample:", "azureml:")):
        return source.split(":")[0]
    return "" if not source else "folder" if source.startswith((".", "/", "~")) else "hub"


def row_for(field: FormField, devices: Mapping[str, Device]) -> Widget:
    """The row that edits a field."""
    match field.place:
        case ("model", "source"):
            return ModelRow(field)
        case ("devices",):
            return DevicesRow(field, devices)
    match field.kind:
        case "long":
            return LongRow(field)
        case "choice" | "flag":
            return ChoiceRow(field)
    return TextRow(field)
