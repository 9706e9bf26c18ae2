"""One packaged image: its layers as bars, what changed, where it comes from, what it answered."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from toolkit.core.files import as_size
from toolkit.core.image_card import Card
from toolkit.core.image_layers import NamedLayer, in_words, signs
from toolkit.tui.harmless import harmless_line
from toolkit.tui.widgets.image_table import short_id
from toolkit.tui.widgets.size_bar import Bar, SizeBars


class ImageCard(VerticalScroll):
    """Scrolls with the arrows once it has the focus."""

    def compose(self) -> ComposeResult:
        yield SizeBars()
        yield Static("", markup=False, id="changes")
        yield Static("", markup=False, id="facts")
        yield Static("", markup=False, id="answers")

    def on_mount(self) -> None:
        self._told: dict[str, str] = {}
        self.border_title = "Layers"

    def show(self, card: Card) -> None:
        total = sum(layer.bytes for layer in card.layers) or 1
        self.border_title = harmless_line(card.item.reference)
        self.query_one(SizeBars).show(_bars(card), [(layer.group, layer.bytes / total) for layer in card.layers])
        self._tell("changes", _changes(card))
        self._tell("facts", _facts(card))
        self._tell("answers", _answers(card))

    def clear(self, text: str) -> None:
        """Nothing is chosen; say why."""
        self.border_title = "Layers"
        self.query_one(SizeBars).show(())
        self._tell("changes", text)
        self._tell("facts", "")
        self._tell("answers", "")

    def _tell(self, part: str, text: str) -> None:
        if self._told.get(part, "") != text:
            self._told[part] = text
            self.query_one(f"#{part}", Static).update(text)


def _bars(card: Card) -> list[Bar]:
    words = signs(card.comparison) if card.comparison else {}
    largest = max((layer.bytes for layer in card.layers), default=0) or 1
    return [_bar(layer, largest, words) for layer in card.layers]


def _bar(layer: NamedLayer, largest: int, words: dict[str, str]) -> Bar:
    return Bar(layer.group, harmless_line(layer.name), as_size(layer.bytes), layer.bytes / largest, words.get(layer.diff_id, ""))


def _changes(card: Card) -> str:
    if card.comparison:
        return in_words(card.comparison, card.pulled_packed)
    size = as_size(sum(layer.bytes for layer in card.layers))
    pulls = f"A device pulls all of it: {as_size(card.packed)} packed, {size} unpacked." if card.packed is not None else ""
    first = "The first image of its recipe and device here."
    return "" if card.item.is_folder else " ".join(filter(None, [first, pulls]))


def _facts(card: Card) -> str:
    item = card.item
    made = [
        "made by another home" if item.is_strange else f"made by {', '.join(item.runs)}" if item.runs else "not made in this home",
        f"build {item.build or '?'}",
    ]
    if item.is_folder:
        return f"{made[1]} | a folder of the local engine, no image"
    recipe = short_id(item.recipe_sha256)
    others = [name for name in item.names if name != item.reference]
    lines = [
        f"id {short_id(item.identity)} | recipe {harmless_line(item.recipe)} {recipe} | device {harmless_line(item.device)}",
        " | ".join(made),
    ]
    return "\n".join([*lines, *(f"also {harmless_line(name)}" for name in others)])


def _answers(card: Card) -> str:
    told = [f"{harmless_line(model)}: {harmless_line(answer)}" for model, answer in card.answers.items()]
    return "\n".join(["When it was packaged it answered", *told]) if told else ""
