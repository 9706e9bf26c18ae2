"""The list of packaged images, by device."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.widgets import DataTable

from toolkit.core.files import as_size
from toolkit.core.stock import Packed
from toolkit.tui.harmless import harmless_line

NARROW = ("image", "adapters", "size", "age")
WIDE = ("device", "image", "recipe", "adapters", "size", "age", "id")


class ImageTable(DataTable[str]):
    """One row an image. It is filled anew only where something in it changed, and keeps its cursor on the same image."""

    BINDINGS = [
        Binding("home,g", "scroll_top", "First", show=False),
        Binding("end,G", "scroll_bottom", "Last", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", id="images")
        self._shown: tuple = ()

    def show(self, items: Sequence[Packed], now: float, is_wide: bool) -> None:
        columns = WIDE if is_wide else NARROW
        shown = (columns, tuple((item.reference, _cells(item, now, columns)) for item in items))
        if shown == self._shown:
            return
        chosen = self.chosen
        self._shown = shown
        self.clear(columns=True)
        for column in columns:
            self.add_column(column)
        for reference, cells in shown[1]:
            self.add_row(*cells, key=reference)
        self.choose(chosen)

    @property
    def chosen(self) -> str:
        """Reference under the cursor; empty: there is none."""
        if not self.is_valid_row_index(self.cursor_row):
            return ""
        return str(self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value)

    def choose(self, reference: str) -> bool:
        """Put the cursor on an image; False where it is not in the list."""
        references = [reference for reference, _ in self._shown[1]] if self._shown else []
        if reference not in references:
            return False
        self.move_cursor(row=references.index(reference))
        return True


def _cells(item: Packed, now: float, columns: Sequence[str]) -> tuple[str, ...]:
    facts = {
        "device": item.device or "?",
        "image": item.reference if len(item.reference) < 48 else item.reference[:45] + "...",
        "recipe": item.recipe,
        "adapters": _fitted(",".join(item.adapters) or "-", 14 if columns is NARROW else 40),
        "size": f"{as_size(item.bytes):>9}",
        "age": ("other home" if columns is NARROW else "another home")
        if item.is_strange
        else ago(now - item.made_at)
        if item.made_at
        else "-",
        "id": short_id(item.identity) or "folder",
    }
    return tuple(harmless_line(facts[column]) if column != "size" else facts[column] for column in columns)


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2]}.."


def short_id(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]


def ago(seconds: float) -> str:
    """Coarse on purpose: an age that ticks would repaint the list."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "now"
