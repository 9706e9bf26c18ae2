"""Images: what is packaged for each device, what it is made of, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static
from textual.worker import get_current_worker

from toolkit.core.exporting import default_name, file_for
from toolkit.core.files import as_size, free_bytes
from toolkit.core.image_card import Card, card
from toolkit.core.packagable import Packagable, packagable
from toolkit.core.stock import Packed, Removal, Stock, removal, remove, stock
from toolkit.core.targets import start_export, start_package
from toolkit.errors import ToolkitError
from toolkit.tui.harmless import harmless_line
from toolkit.tui.messages import ChatWith, Publish, ShowRun
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.widgets.dialogs import COPIED, AskText, Confirm
from toolkit.tui.widgets.image_card import ImageCard
from toolkit.tui.widgets.image_table import ImageTable
from toolkit.tui.widgets.package_dialog import PackageDialog

NOTHING = "No images yet. p packages a finished build."
UNSEEN = "What the engine holds is shown when it answers."
LOOKING = "Looking ..."


class ImagesScreen(EdgeScreen):
    place = "images"
    CSS_PATH = "images.tcss"
    BINDINGS = [
        Binding("p", "package", "Package"),
        Binding("c", "chat", "Chat"),
        Binding("u", "publish", "Publish"),
        Binding("e", "export", "Export"),
        Binding("d", "remove", "Remove"),
        Binding("y", "copy", "Copy id"),
        Binding("enter", "show_run", "Its run", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("r", "look", "Refresh", show=False),
        Binding("escape", "leave", "Back", show=False),
    ]
    table = getters.query_one(ImageTable)
    card = getters.query_one(ImageCard)
    filter = getters.query_one("#filter", Input)

    def __init__(self, bench) -> None:
        super().__init__(bench)
        self._stock = Stock(())
        self._has_looked = False
        self._cards: dict[tuple, Card] = {}
        self._wanted = ""
        """Chosen by the app before the list was there."""
        self._timer: Timer | None = None

    def body(self) -> Iterable[Widget]:
        with Vertical(classes="panel", id="list") as panel:
            panel.border_title = "Images"
            yield ImageTable()
            yield Static("", markup=False, id="empty")
            yield Input(placeholder="part of a name, device, recipe or adapter", id="filter")
        card = ImageCard(classes="panel")
        card.can_focus = True
        yield card

    def on_mount(self) -> None:
        self.filter.cursor_blink = False
        self.table.focus()

    def choose(self, reference: str) -> None:
        """Put the cursor on this image, now or as soon as it is listed."""
        self._wanted = reference
        if self.is_mounted:
            self.filter.value = ""
            self.remove_class("-filtering")
            self._draw()

    # -- looking ----------------------------------------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        self.action_look()

    def on_screen_suspend(self) -> None:
        self.workers.cancel_group(self, "look")
        if self._timer:
            self._timer.stop()

    def action_look(self) -> None:
        if self._timer:
            self._timer.stop()
        self._look()

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look(self) -> None:
        worker = get_current_worker()
        found = stock(self.bench)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._looked, found)

    def _looked(self, found: Stock) -> None:
        if self.is_current:  # it may have been left while the engine answered
            self._timer = self.set_timer(self.pace.list_seconds, self.action_look)
        told = self._stock.problem
        self._stock, self._has_looked = found, True
        if found.problem:
            self.tell_problem(found.problem)
        elif told:
            self.clear_problem()
        self._draw()

    @on(Input.Changed, "#filter")
    def _draw(self) -> None:
        wanted = self.filter.value.lower()
        items = [item for item in self._stock.items if wanted in _searched(item)]
        if items and self.has_class("-empty") and not self.filter.has_focus:
            self.call_after_refresh(self.table.focus)  # hidden as it was, it had lost it
        self.set_class(not items, "-empty")
        self.query_one("#empty", Static).update(self._why_empty())
        self.query_one("#list").border_title = _counted(len(items), len(self._stock.items))
        self.table.show(items, self.bench.clock(), self.has_class("-wide"))
        if self._wanted and (item := self._stock.find(self._wanted)) and self.table.choose(item.reference):
            self._wanted = ""
        if self.chosen:
            self._tell(self.chosen)
        else:
            self.card.clear("")

    def _why_empty(self) -> str:
        if self._stock.items:
            return "Nothing fits the filter."
        if self._stock.problem:
            return UNSEEN
        return NOTHING if self._has_looked else LOOKING

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @property
    def chosen(self) -> Packed | None:
        return self._stock.find(self.table.chosen) if self.table.row_count else None

    @on(DataTable.RowHighlighted)
    def tell_chosen(self) -> None:
        if self.chosen:
            self._tell(self.chosen)

    def _tell(self, item: Packed) -> None:
        key = (item, self._stock.before(item))
        if key in self._cards:
            self.card.show(self._cards[key])
        else:
            self._read_card(item, self._stock)

    @work(thread=True, exclusive=True, exit_on_error=False, group="card")
    def _read_card(self, item: Packed, known: Stock) -> None:
        worker = get_current_worker()
        told = card(self.bench, known, item)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._card_read, (item, known.before(item)), told)

    def _card_read(self, key: tuple, told: Card) -> None:
        self._cards[key] = told
        if self.chosen == told.item:
            self.card.show(told)

    # -- doing ------------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="package")
    def action_package(self) -> None:
        builds = packagable(self.bench)
        self.app.call_from_thread(self._ask_what_to_package, builds)

    def _ask_what_to_package(self, builds: list[Packagable]) -> None:
        if not builds:
            self.tell_problem(ToolkitError("There is no finished build to package.", "2 starts one; Runs shows how far it is."))
            return
        self.app.push_screen(PackageDialog(builds, self.bench.clock()), lambda answer: answer and self._package(*answer))

    @work(thread=True, exclusive=True, exit_on_error=False, group="package")
    def _package(self, build: Packagable, memory_mb: int) -> None:
        run = start_package(self.bench, self.bench.run(build.run), build.device, memory_mb)
        self.post_message(ShowRun(run.id))

    def action_remove(self) -> None:
        if self.chosen:
            self._plan_removal(self.chosen.reference)

    @work(thread=True, exclusive=True, exit_on_error=False, group="remove")
    def _plan_removal(self, reference: str) -> None:
        planned = removal(self.bench, stock(self.bench), reference)
        self.app.call_from_thread(self._ask_removal, planned)

    def _ask_removal(self, planned: Removal) -> None:
        question = f"Remove {harmless_line(planned.item.reference)}? {as_size(planned.freed)} become free."
        self.app.push_screen(Confirm(question, planned.consequence, "Remove"), lambda yes: yes and self._remove(planned.item))

    @work(thread=True, exclusive=True, exit_on_error=False, group="remove")
    def _remove(self, item: Packed) -> None:
        remove(self.bench, item)
        self.app.call_from_thread(self.action_look)

    def action_export(self) -> None:
        if not self.chosen or self.chosen.is_folder:
            return
        reference, folder = self.chosen.reference, Path.cwd()
        note = f"It takes about {as_size(self.chosen.bytes)}; {as_size(free_bytes(folder))} are free in {folder}."
        question = AskText("Save it to which file?", str(folder / default_name(reference)), note)
        self.app.push_screen(question, lambda path: path and self._ask_overwriting(reference, file_for(reference, path, folder)))

    def _ask_overwriting(self, reference: str, file: Path) -> None:
        if not file.exists():
            self._export(reference, file, False)
            return
        question = Confirm(f"Overwrite {harmless_line(str(file))}?", "What is in it is lost.", "Overwrite")
        self.app.push_screen(question, lambda yes: yes and self._export(reference, file, True))

    @work(thread=True, exclusive=True, exit_on_error=False, group="export")
    def _export(self, reference: str, file: Path, overwrite: bool) -> None:
        run = start_export(self.bench, reference, file, overwrite)
        self.post_message(ShowRun(run.id))

    def action_chat(self) -> None:
        if self.chosen:
            self.post_message(ChatWith(self.chosen.reference))

    def action_publish(self) -> None:
        if self.chosen and not self.chosen.is_folder:
            self.post_message(Publish(self.chosen.reference))

    def action_show_run(self) -> None:
        if self.chosen and self.chosen.runs:
            self.post_message(ShowRun(self.chosen.runs[-1]))

    @on(DataTable.RowSelected)
    def row_selected(self) -> None:
        self.action_show_run()

    def action_copy(self) -> None:
        if self.chosen and not self.chosen.is_folder:
            self.app.copy_to_clipboard(self.chosen.identity)
            self.notify(COPIED, markup=False)

    # -- filter -----------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        self.add_class("-filtering")
        self.filter.focus()

    @on(Input.Submitted, "#filter")
    def filtered(self) -> None:
        self.table.focus()

    def action_leave(self) -> None:
        """Out of the filter, then out of a problem told."""
        self.filter.value = ""
        self.remove_class("-filtering")
        self.clear_problem()
        self.table.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What needs an image of the engine is greyed without one."""
        if action in ("export", "publish", "copy") and (self.chosen is None or self.chosen.is_folder):
            return None
        return None if action in ("chat", "remove", "show_run") and self.chosen is None else True


def _counted(shown: int, known: int) -> str:
    """What the frame of the list says."""
    return f"Images {shown} of {known}" if shown != known else f"Images {known}" if known else "Images"


def _searched(item: Packed) -> str:
    return " ".join((item.reference, item.device, item.recipe, *item.adapters, *item.names, *item.runs)).lower()
