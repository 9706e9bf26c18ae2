"""The text of a recipe: one value changed with comments and order kept, adapters added and removed, a copy for another folder."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from toolkit.core.files import write_text
from toolkit.core.recipe import NAME
from toolkit.core.recipe_form import Place, value_at
from toolkit.errors import RecipeError
from toolkit.settings import Settings

LONG_LIST = 100
"""Columns from which a list is written one item a line."""


def raw_of(text: str) -> dict[str, Any] | None:
    """The recipe as plain values; None where the text is no TOML."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def with_value(text: str, place: Place, value: Any) -> str:
    """The text with one value set; everything else stays, comments and order too.

    Raises:
        RecipeError: the text is no TOML, or has something else than a table on the way to the place.
    """
    if value_at(raw_of(text), place) == value and type(value_at(raw_of(text), place)) is type(value):
        return text
    document = _document(text)
    table = _table_at(document, place[:-1])
    table[str(place[-1])] = _item(value)
    return document.as_string()


def without(text: str, place: Place) -> str:
    """The text without this key, so that its default holds."""
    if value_at(raw_of(text), place) is None:
        return text
    document = _document(text)
    _table_at(document, place[:-1]).remove(str(place[-1]))
    return document.as_string()


def with_adapter(text: str, name: str = "") -> str:
    """The text with one more adapter table after the last; its training file is for the person to name."""
    document = _document(text)
    taken = {value_at(table, ("name",)) for table in document.get("adapters", [])}
    table = tomlkit.table()
    table["name"] = name or _free_name("adapter", taken)
    table["train"] = [f"{table['name']}.jsonl"]
    if "adapters" not in document:
        document["adapters"] = tomlkit.aot()
    if isinstance(document["adapters"], tomlkit.items.AoT):
        _open_line_before(document["adapters"] or document)
        document["adapters"].append(table)
        table.add(tomlkit.nl())
        return document.as_string()
    document["adapters"].append({**table})
    return document.as_string()


def without_adapter(text: str, number: int) -> str:
    """The text without the adapter table of this number, from 0."""
    document = _document(text)
    if 0 <= number < len(document.get("adapters", [])):
        del document["adapters"][number]
    return document.as_string()


def moved(text: str, folder: Path, target: Path) -> str:
    """The text for a recipe that moves from one folder to another: its relative paths name the same files from there.

    A path stays relative where it begins with no more than one `..`; else it becomes absolute.
    """
    if folder.resolve() == target.resolve() or raw_of(text) is None:
        return text
    for place, value in _paths_in(raw_of(text) or {}):
        many = [value] if isinstance(value, str) else value
        new = [_from_there(path, folder, target) for path in many]
        text = with_value(text, place, new[0] if isinstance(value, str) else new)
    return text


def save(path: Path, text: str) -> None:
    """Write the recipe whole or not at all.

    Raises:
        RecipeError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as exc:
        raise RecipeError(f"{path} cannot be written: {exc.strerror}.", "Save it under another path.") from exc


def read_text(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        RecipeError: it is gone, cannot be read, or is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (FileNotFoundError, IsADirectoryError) as exc:
        raise RecipeError(f"There is no recipe at {path}.", "Choose another one with ctrl+o, or save this text anew.") from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text.", "Save the recipe as UTF-8.") from exc
    except OSError as exc:
        raise RecipeError(f"{path} cannot be read: {exc.strerror}.", "Check its owner and its permissions.") from exc


@dataclass(frozen=True)
class Draft:
    """A recipe being written: its text now, and as the file held it."""

    path: Path
    text: str = ""
    saved: str = ""
    stamp: tuple[int, int] | None = None
    """Size and time of the file when it was read or written; None where there is none."""

    @property
    def is_changed(self) -> bool:
        return self.text != self.saved

    def disk_news(self) -> str:
        """`changed` or `gone` where the file is another than the one read; empty where it is the same."""
        now = _stamp(self.path)
        if now == self.stamp:
            return ""
        return "gone" if now is None else "changed"


def opened(path: Path) -> Draft:
    """The draft over a file.

    Raises:
        RecipeError: it cannot be read.
    """
    stamp = _stamp(path)
    text = read_text(path)
    return Draft(path, text, text, stamp)


def saved(draft: Draft, path: Path) -> Draft:
    """The draft once it is written to a path; its relative paths go along.

    Raises:
        RecipeError: it cannot be written there.
    """
    text = moved(draft.text, draft.path.absolute().parent, path.absolute().parent)
    save(path, text)
    return Draft(path, text, text, _stamp(path))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that can be chosen."""

    path: Path
    origin: str
    """sample, yours or here."""

    @property
    def is_original(self) -> bool:
        """Part of the product: it is copied, never written over."""
        return self.origin == "sample"


def sample_recipe(settings: Settings) -> Path:
    """The built-in sample's recipe."""
    return settings.samples.parent / "recipes" / "travel.toml"


def recipes(settings: Settings, here: Path | None = None) -> list[RecipeFile]:
    """The recipes there are: the sample, the person's own, those in the current folder; each once."""
    sample = sample_recipe(settings)
    found = [RecipeFile(sample, "sample")] if sample.is_file() else []
    found += [RecipeFile(path, "yours") for path in _toml_files(settings.recipes)]
    found += [RecipeFile(path, "here") for path in _toml_files(here or Path.cwd()) if _is_recipe(path)]
    return list({file.path.resolve(): file for file in reversed(found)}.values())[::-1]


def place_to_save(settings: Settings, path: Path | None, text: str) -> Path:
    """Where a text is saved unless a person says otherwise: its own file, or a fresh one for what came from the sample."""
    if path is not None and path.resolve() != sample_recipe(settings).resolve():
        return path
    name = value_at(raw_of(text), ("name",))
    wanted = name if isinstance(name, str) and NAME.match(name) else "recipe"
    taken = {file.stem for file in _toml_files(settings.recipes)} | {sample_recipe(settings).stem}
    return settings.recipes / f"{_free_name(wanted, taken)}.toml"


def _free_name(wanted: str, taken: set[Any]) -> str:
    if wanted not in taken:
        return wanted
    return next(f"{wanted}-{number}" for number in range(2, len(taken) + 3) if f"{wanted}-{number}" not in taken)


def _toml_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.glob("*.toml") if path.is_file())
    except OSError:
        return []


def _is_recipe(path: Path) -> bool:
    """A TOML file of the current folder that looks like one of ours, so that no pyproject.toml is offered."""
    try:
        text = path.read_bytes()[:1_000_000].decode("utf-8", "replace")
    except OSError:
        return False
    return "[model]" in text and "adapters" in text


def _document(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError) as exc:
        raise RecipeError(f"The recipe is not TOML: {exc}.", "Correct the text first.") from exc


def _table_at(document: Any, place: Place) -> Any:
    """The table at a place, made where there is none yet."""
    table = document
    for step in place:
        if isinstance(step, str) and step not in table:
            _open_line_before(document)
            table[step] = tomlkit.table()
        table = table[step]
        if not isinstance(table, (Mapping, list)):
            raise RecipeError(f"'{'.'.join(map(str, place))}' is no table of the recipe.", "Write it as a [table].")
    return table


def _open_line_before(table: Any) -> None:
    """A blank line at the end of what stands so far, so that a new table does not stick to it."""
    while isinstance(table, list) and table:
        table = table[-1]
    if isinstance(table, tomlkit.TOMLDocument) and not table.as_string().endswith("\n"):
        table.add(tomlkit.nl())
    if isinstance(table, Mapping) and not table.as_string().endswith("\n\n"):
        table.add(tomlkit.nl())


def _item(value: Any) -> Any:
    if isinstance(value, str) and "\n" in value and '"""' not in value and "\r" not in value:
        return tomlkit.string("\n" + value if value.startswith("\n") else value, multiline=True)
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
    if isinstance(item, tomlkit.items.Array) and len(item.as_string()) > LONG_LIST:
        item.multiline(True)
    return item


def _paths_in(raw: Mapping[str, Any]) -> Iterator[tuple[Place, str | list[str]]]:
    """Every key that holds relative paths."""
    source = value_at(raw, ("model", "source"))
    if isinstance(source, str) and source.startswith("."):
        yield ("model", "source"), source
    adapters = raw.get("adapters")
    places: list[Place] = [("quantize", "calibration")]
    for number in range(len(adapters) if isinstance(adapters, list) else 0):
        places += [("adapters", number, "train"), ("adapters", number, "held_out")]
    for place in places:
        value = value_at(raw, place)
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(path, str) for path in value)):
            yield place, value


def _from_there(path: str, folder: Path, target: Path) -> str:
    if path.startswith(("/", "~")):
        return path
    file = (folder / path).resolve()
    relative = os.path.relpath(file, target.resolve())
    if relative.startswith(os.path.join("..", "..")):
        return str(file)
    return relative if not path.startswith(".") or relative.startswith(".") else f"./{relative}"
