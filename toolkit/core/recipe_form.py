"""The recipe as a form: sections and fields, read off the recipe's own types, so that a new key of a recipe appears by itself."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types as bounds_of
from pydantic.fields import FieldInfo

from toolkit.core.recipe import Part, Recipe

Place = tuple[str | int, ...]
KINDS = ("text", "long", "choice", "number", "flag", "list", "table")


class WrongValue(ValueError):
    """What was typed cannot be a value of the field."""


@dataclass(frozen=True)
class Bounds:
    """What a number may be; None where nothing bounds it."""

    lowest: float | None = None
    highest: float | None = None
    is_above: bool = False
    """The lowest itself is not allowed."""
    is_below: bool = False
    """The highest itself is not allowed."""

    def __str__(self) -> str:
        if self.highest is None:
            return "" if self.lowest is None else f"above {self.lowest}" if self.is_above else f"{self.lowest} or more"
        high = f"below {self.highest}" if self.is_below else f"{self.highest}"
        if self.lowest is None:
            return high if self.is_below else f"up to {high}"
        return f"above {self.lowest}, up to {high}" if self.is_above else f"from {self.lowest} to {high}"


@dataclass(frozen=True)
class FormField:
    """One key of a recipe, as a form asks for it."""

    place: Place
    """Its path in the recipe: `("adapters", 0, "train")`."""
    kind: str
    """One of KINDS."""
    help: str = ""
    default: Any = None
    is_required: bool = False
    """There is no default."""
    is_whole: bool = False
    """A number without a fraction."""
    takes_number: bool = False
    """A list that may be one number instead."""
    choices: tuple[Any, ...] = ()
    bounds: Bounds = Bounds()

    @property
    def name(self) -> str:
        return str(self.place[-1])

    @property
    def label(self) -> str:
        return self.name.replace("_", " ")

    @property
    def limits(self) -> str:
        """What a value may be, in words; empty where anything may."""
        if self.kind == "number":
            return " ".join(filter(None, ["a whole number" if self.is_whole else "a number", str(self.bounds)]))
        return {
            "choice": ", ".join(map(shown, filter(None, self.choices))),
            "list": "separated by commas",
            "table": "key = value, ...",
        }.get(self.kind, "")

    def at(self, number: int) -> FormField:
        """The same field of one table of a repeated section."""
        first, *rest = self.place
        return replace(self, place=(first, number, *rest))


@dataclass(frozen=True)
class FormSection:
    """A table of the recipe."""

    name: str
    """The table's key; empty for keys that stand above all tables."""
    fields: tuple[FormField, ...]
    is_repeated: bool = False
    """There may be several such tables, each with all fields."""


def sections(recipe: type[Part] = Recipe) -> tuple[FormSection, ...]:
    """The tables of a recipe in the order of its types, its own plain keys first."""
    plain, tables = [], []
    for name, info in recipe.model_fields.items():
        part, is_repeated = _part_of(info.annotation)
        if part is None:
            plain.append(_field((name,), info))
            continue
        fields = tuple(_field((name, key), inner) for key, inner in part.model_fields.items())
        tables.append(FormSection(name, fields, is_repeated))
    return (FormSection("", tuple(plain)), *tables)


def fields_in(raw: Mapping[str, Any], recipe: type[Part] = Recipe) -> tuple[FormField, ...]:
    """Every field of a form over this recipe: those of a repeated table once for each there is."""
    found: list[FormField] = []
    for section in sections(recipe):
        if not section.is_repeated:
            found += section.fields
            continue
        tables = raw.get(section.name)
        for number in range(len(tables) if isinstance(tables, list) else 0):
            found += [field.at(number) for field in section.fields]
    return tuple(found)


def limits_at(part: type[Part], place: Place) -> str:
    """What a value of a part may be, in words; empty where that is not said of numbers, choices and flags."""
    names = tuple(step for step in place if isinstance(step, str))
    field = next((field for section in sections(part) for field in section.fields if field.place == names), None)
    if field is None or field.kind not in ("number", "choice", "flag"):
        return ""
    return {"choice": f"one of {field.limits}", "flag": "true or false"}.get(field.kind, field.limits)


def value_at(raw: Any, place: Place) -> Any:
    """What the recipe says there; None where it says nothing."""
    for step in place:
        try:
            raw = raw[step]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def shown(value: Any) -> str:
    """A value as a person types it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_quoted(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_quoted if any(map(_needs_quotes, value)) else str, value))
    return str(value)


def parsed(field: FormField, text: str) -> Any:
    """The value that was typed; bounds are the recipe's own to judge.

    Raises:
        WrongValue: it is of no kind that the field takes.
    """
    match field.kind:
        case "number":
            return _number(field, text)
        case "flag":
            return text == "true"
        case "choice":
            return next((choice for choice in field.choices if shown(choice) == text), text)
        case "list":
            return _listed(field, text)
        case "table":
            return _table(text)
    return text


def _number(field: FormField, text: str) -> int | float:
    try:
        return int(text) if field.is_whole else float(text)
    except ValueError as exc:
        raise WrongValue(f"{field.limits}; got '{text.strip()[:40]}'.") from exc


def _listed(field: FormField, text: str) -> Any:
    if field.takes_number:
        try:
            return float(text)
        except ValueError:
            pass
    if text.strip() == "[]":
        return []
    return _toml(f"[{text}]") if '"' in text else [item.strip() for item in text.split(",") if item.strip()]


def _table(text: str) -> dict[str, Any]:
    found = _toml("{" + text.strip().removeprefix("{").removesuffix("}") + "}")
    assert isinstance(found, dict)
    return found


def _toml(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as exc:
        raise WrongValue(f"not TOML: {str(exc).split(' (at')[0]}; write it as in {_EXAMPLES[text[0]]}.") from exc


_EXAMPLES = {"{": "epochs = 2.0, rank = 8", "[": '"one, two.jsonl", "three.jsonl"'}


def _needs_quotes(value: Any) -> bool:
    return not isinstance(value, str) or "," in value or '"' in value or value != value.strip() or not value


def _quoted(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, list, tuple)) else shown(value)


def _part_of(annotation: Any) -> tuple[type[Part] | None, bool]:
    """(the table type behind an annotation, whether there may be several); None where it is a plain value."""
    if _is_part(annotation):
        return annotation, False
    inner = next((kind for kind in get_args(annotation) if _is_part(kind)), None)
    return inner, get_origin(annotation) is tuple


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Part)


def _field(place: Place, info: FieldInfo) -> FormField:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    field = FormField(place, _kind(info.annotation), info.description or "", default, info.is_required())
    if field.kind == "text" and extra.get("is_long"):
        return replace(field, kind="long")
    kinds = _kinds_in(info.annotation)
    if field.kind == "choice":
        return replace(field, choices=get_args(info.annotation))
    return replace(field, is_whole=float not in kinds, takes_number=field.kind == "list" and float in kinds, bounds=_bounds(info))


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "choice"
    kinds = _kinds_in(annotation)
    if tuple in kinds:
        return "list"
    if dict in kinds:
        return "table"
    return "flag" if bool in kinds else "number" if {int, float} & kinds else "text"


def _kinds_in(annotation: Any) -> set[Any]:
    """The plain kinds that an annotation allows: `Paths | float` is a tuple or a float."""
    if hasattr(annotation, "__metadata__"):
        return _kinds_in(annotation.__origin__)
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*map(_kinds_in, get_args(annotation)))
    return {get_origin(annotation) or annotation}


def _bounds(info: FieldInfo) -> Bounds:
    found = Bounds()
    for limit in info.metadata:
        match limit:
            case bounds_of.Ge():
                found = replace(found, lowest=limit.ge)
            case bounds_of.Gt():
                found = replace(found, lowest=limit.gt, is_above=True)
            case bounds_of.Le():
                found = replace(found, highest=limit.le)
            case bounds_of.Lt():
                found = replace(found, highest=limit.lt, is_below=True)
    return found
