"""The recipe as a form: a row for each key, in sections, with what is wrong at the row and the focused row explained below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Static

from toolkit.core.device import Device
from toolkit.core.recipe import RecipeProblem
from toolkit.core.recipe_form import FormField, FormSection, Place, sections, value_at
from toolkit.tui.widgets.recipe_fields import FieldRow, row_for

KEYS = (
    "Enter or ↓ goes into the fields, Esc comes back to the tabs. There letters are keys: f t o d p pages, a adds and x removes an adapter."
)


class Heading(Static):
    def __init__(self, title: str) -> None:
        super().__init__(f"── {title} " + "─" * 60, markup=False)


MOST_ADAPTERS, MOST_PROBLEMS = 20, 100
"""What the form shows of a recipe that has more."""


def _at_field(problem: RecipeProblem) -> str:
    """The message without the key's name, which stands beside it."""
    dotted = ".".join(map(str, problem.place))
    return problem.message.removeprefix(f"'{dotted}': ")


def _nearest(known: Mapping[Place, FieldRow], place: Place) -> FieldRow | None:
    while place and place not in known:
        place = place[:-1]
    return known.get(place)


class AddAdapter(Message):
    """One more adapter is wanted."""


@dataclass
class RemoveAdapter(Message):
    """This adapter is not wanted any more."""

    number: int


class RecipeForm(Vertical):
    """Told a recipe by `show`; says what was typed by `FieldRow.Edited`."""

    def __init__(self, devices: Mapping[str, Device], id: str) -> None:
        super().__init__(id=id)
        self._devices = devices
        self._raw: dict[str, Any] = {}
        self._adapters = -1
        self.current: FormField | None = None
        """The field that has, or last had, the focus."""

    def compose(self) -> ComposeResult:
        yield VerticalScroll(id="fields", can_focus=False)
        yield Static(KEYS, markup=False, id="explained")

    @property
    def fields(self) -> VerticalScroll:
        return self.query_one("#fields", VerticalScroll)

    def rows(self) -> Iterator[FieldRow]:
        yield from self.query(FieldRow)

    def row_of(self, place: Place) -> FieldRow | None:
        """The row of a place, or of the nearest thing around it that has one."""
        return _nearest({row.field.place: row for row in self.rows()}, place)

    async def show(self, raw: dict[str, Any] | None, problems: Sequence[RecipeProblem], is_echo: bool = False) -> None:
        """Show these values and what is wrong with them; no values at all where the text is no TOML.

        An echo is of what was typed here: more may stand in the fields by now, and stays.
        """
        self.set_class(raw is None, "-unreadable")
        if raw is not None:
            self._raw = raw
            count = len(tables) if isinstance(tables := raw.get("adapters"), list) else 0
            if min(count, MOST_ADAPTERS + 1) != min(self._adapters, MOST_ADAPTERS + 1):
                self._adapters, is_echo = count, False
                await self._rebuild()
            for row in self.rows():
                row.show(value_at(raw, row.field.place), is_echo)
        self._tell(problems)

    def _tell(self, problems: Sequence[RecipeProblem]) -> None:
        wrong: dict[FieldRow, str] = {}
        known = {row.field.place: row for row in self.rows()}
        for problem in reversed(problems[:MOST_PROBLEMS]):
            row = _nearest(known, problem.place)
            if row is not None:
                wrong[row] = f"line {problem.line}: {_at_field(problem)}"
        for row in self.rows():
            row.tell(wrong.get(row, ""))

    async def _rebuild(self) -> None:
        focused = self.current.place if self.current and self.has_focus_within else None
        async with self.batch():
            await self.fields.remove_children()
            await self.fields.mount_all(self._widgets())
        row = self.row_of(focused) if focused else None
        if row is not None:
            row.take_focus()

    def _widgets(self) -> Iterator[Widget]:
        plain, *tables = sections()
        yield from (row_for(field, self._devices) for field in plain.fields if field.kind != "list")
        for section in tables:
            yield from self._repeated(section) if section.is_repeated else self._once(section.name, section.fields)
        for field in plain.fields:
            if field.kind == "list":
                yield from self._once(field.name, (field,))

    def _once(self, title: str, fields: Sequence[FormField]) -> Iterator[Widget]:
        yield Heading(title.replace("_", " ").capitalize())
        yield from (row_for(field, self._devices) for field in fields)

    def _repeated(self, section: FormSection) -> Iterator[Widget]:
        for number in range(min(self._adapters, MOST_ADAPTERS)):
            yield Heading(f"Adapter {number + 1}")
            yield from (row_for(field.at(number), self._devices) for field in section.fields)
            yield Button("Remove this adapter", classes="remove", name=str(number))
        yield Heading("Adapters")
        if self._adapters > MOST_ADAPTERS:
            yield Static(f"There are more than {MOST_ADAPTERS}; the others are edited in the TOML.", markup=False)
        yield Button("Add an adapter (^n)", id="add-adapter")

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "add-adapter":
            self.post_message(AddAdapter())
        else:
            self.post_message(RemoveAdapter(int(event.button.name or 0)))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        row = next((one for one in event.widget.ancestors_with_self if isinstance(one, FieldRow)), None)
        if row is not None:
            self.current = row.field
            self.query_one("#explained", Static).update(explained(row.field))


def explained(field: FormField) -> str:
    """What a field is for, what it may be, and what holds where nothing is set."""
    dotted = ".".join(str(at + 1) if isinstance(at, int) else at for at in field.place)
    default = "" if field.is_required else f"Default: {default_of(field)}."
    limits = "Space ticks one or takes its tick away" if field.place == ("devices",) else field.limits[:1].upper() + field.limits[1:]
    return "\n".join(filter(None, [f"{dotted}: {field.help}", " ".join(filter(None, [f"{limits}." if limits else "", default]))]))


def default_of(field: FormField) -> str:
    from toolkit.tui.widgets.recipe_fields import default_text

    return default_text(field)
