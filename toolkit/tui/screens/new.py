"""New run: a recipe as a form and as TOML, Olive's configuration beside it, its data, and what a run of it would do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from textual import events, getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Select, Static, Tab, Tabs, TextArea
from textual.worker import get_current_worker

from toolkit.core import device as devices
from toolkit.core import recipe_text
from toolkit.core.olive_config import as_text
from toolkit.core.preview import Left, Preview, olive_of, planned_anew, preview
from toolkit.core.recipe import Recipe, RecipeProblem, read
from toolkit.core.recipe_form import WrongValue, parsed
from toolkit.core.recipe_text import Draft
from toolkit.core.workbench import Workbench
from toolkit.errors import RecipeError, ToolkitError
from toolkit.settings import ENGINES
from toolkit.tui.screens.new_files import RecipeFiles
from toolkit.tui.screens.new_start import RunStarter
from toolkit.tui.widgets.dataset_view import DatasetView
from toolkit.tui.widgets.dialogs import Confirm
from toolkit.tui.widgets.plan_view import PlanView
from toolkit.tui.widgets.recipe_fields import FieldRow
from toolkit.tui.widgets.recipe_form import AddAdapter, RecipeForm, RemoveAdapter

PAGES = {"form": "Form", "toml": "TOML", "olive": "Olive", "data": "Data", "plan": "Plan"}
WIDE, TALL = 100, 34
TYPING_SECONDS = 0.15
"""After the last key, before what was typed goes into the recipe."""
LOOK_SECONDS = 0.4
"""After the last change, before data and plan are looked at again."""


class NewRunScreen(RecipeFiles, RunStarter):
    place = "new"
    AUTO_FOCUS = "#page-tabs"
    CSS_PATH = "new.tcss"
    BINDINGS = [
        Binding("ctrl+r", "start", "Start"),
        Binding("ctrl+s", "save", "Save"),
        Binding("ctrl+o", "choose", "Recipes"),
        Binding("ctrl+n", "add_adapter", "Add adapter"),
        Binding("ctrl+g", "default", "Default", tooltip="The default for the field one is in"),
        Binding("escape", "leave_field", "Tabs"),
        Binding("down,enter", "next_field", "Next field", show=False),
        Binding("up", "app.focus_previous", "Field before", show=False),
        *(Binding(name[0], f"page('{name}')", f"Show {title}", show=False) for name, title in PAGES.items()),
        Binding("a", "add_adapter", "Add an adapter", show=False),
        Binding("x", "remove_adapter", "Remove the adapter one was in", show=False),
        Binding("l", "look_again", "Look at data and plan again", show=False),
    ]
    form = getters.query_one("#form-pane", RecipeForm)
    toml = getters.query_one("#toml-text", TextArea)
    olive = getters.query_one("#olive-text", TextArea)
    tabs = getters.query_one("#page-tabs", Tabs)

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.draft = Draft(bench.settings.recipes / "recipe.toml")
        self.recipe: Recipe | None = None
        """As the text says; None while something in it is wrong."""
        self.problems: tuple[RecipeProblem, ...] = ()
        self.seen: Preview | None = None
        """The last look at data and plan; None where the recipe has changed since."""
        self._typed: dict[tuple, FieldRow.Edited] = {}
        self._is_toml_typed = False
        self._waits: dict[str, Timer] = {}

    def body(self) -> Iterable[Widget]:
        with Horizontal(id="head"):
            yield Static("", markup=False, id="which")
            yield Static("engine", markup=False, classes="label")
            yield Select([(name, name) for name in ENGINES], value=self.bench.settings.engine, allow_blank=False, compact=True, id="engine")
            yield Button("Start (^r)", id="start", variant="primary", compact=True)
        yield Tabs(*(Tab(title, id=name) for name, title in PAGES.items()), id="page-tabs")
        with Horizontal(id="columns"):
            yield RecipeForm(self._catalogue(), id="form-pane")
            with Vertical(id="pages"):
                yield _text_area("toml-text", show_line_numbers=True)
                yield Static("", markup=False, id="olive-title")
                yield _text_area("olive-text", read_only=True)
                yield DatasetView(id="data-page")
                yield PlanView(id="plan-page")

    def _catalogue(self) -> dict:
        try:
            return devices.catalogue(self.bench.settings.devices)
        except ToolkitError as exc:
            self.call_after_refresh(self.tell_problem, exc)
            return {}

    # Pages.

    @property
    def page(self) -> str:
        return self.tabs.active

    def on_resize(self, event: events.Resize) -> None:
        is_wide = event.size.width >= WIDE
        (self.tabs.hide if is_wide else self.tabs.show)("form")
        if is_wide and self.page in ("", "form"):
            self.tabs.active = "toml"
        self._lay_out()

    @on(Tabs.TabActivated, "#page-tabs")
    async def turned(self, event: Tabs.TabActivated) -> None:
        await self.flush()
        self._lay_out()
        self.look()

    def _lay_out(self) -> None:
        """Show the page that is chosen; where it is wide the form too, and below the TOML what Olive is asked."""
        is_wide, is_roomy = self.size.width >= WIDE, self.size.width >= WIDE and self.size.height >= TALL
        self.form.display = is_wide or self.page == "form"
        self.query_one("#pages").display = is_wide or self.page != "form"
        self.toml.display = self.page == "toml"
        self.olive.display = self.query_one("#olive-title").display = self.page == "olive" or (is_roomy and self.page == "toml")
        self.query_one("#data-page").display = self.page == "data"
        self.query_one("#plan-page").display = self.page == "plan"

    def action_page(self, name: str) -> None:
        if name != "form" or self.size.width < WIDE:
            self.tabs.active = name
        elif first := next(iter(self.form.rows()), None):
            (self.form.row_of(self.form.current.place) if self.form.current else first).take_focus()

    def action_leave_field(self) -> None:
        """Out of a text field, to the tabs: letters are keys there."""
        self.tabs.focus()

    def action_next_field(self) -> None:
        """From the tabs into the page, from one field to the next."""
        self.app.action_focus_next() if self.focused is not self.tabs else self._page_widget().focus()

    def _page_widget(self) -> Widget:
        if self.page == "form":
            return next(widget for row in self.form.rows() for widget in row.query("*") if widget.focusable)
        return self.query_one({"toml": "#toml-text", "olive": "#olive-text"}.get(self.page, f"#{self.page}-page"))

    # From the form and from the text into the recipe.

    @on(FieldRow.Edited)
    async def field_typed(self, event: FieldRow.Edited) -> None:
        event.stop()
        if self._is_toml_typed:
            await self.flush()
        self._typed[event.field.place] = event
        self._after("typing", TYPING_SECONDS, self.flush)

    @on(TextArea.Changed, "#toml-text")
    async def toml_typed(self) -> None:
        if self._typed:
            await self.flush()
        self._is_toml_typed = True
        self._after("typing", TYPING_SECONDS, self.flush)

    async def flush(self) -> None:
        """What was typed goes into the recipe now."""
        if self._is_toml_typed:
            self._is_toml_typed = False
            await self.put(self.toml.text, typed="toml")
            return
        typed, self._typed = self._typed, {}
        text = self.draft.text
        for event in typed.values():
            text = self._with_field(text, event)
        if typed:
            await self.put(text, typed="form")

    def _with_field(self, text: str, event: FieldRow.Edited) -> str:
        field, row = event.field, self.form.row_of(event.field.place)
        try:
            value = None if event.text is None else parsed(field, event.text)
            changed = recipe_text.without(text, field.place) if value is None else recipe_text.with_value(text, field.place, value)
        except (WrongValue, RecipeError) as exc:
            if row:
                row.misread_as(exc.message if isinstance(exc, RecipeError) else str(exc))
            return text
        if row:
            row.misread = ""
        return changed

    async def put(self, text: str, typed: str = "") -> None:
        """This is the recipe's text now; form, text and problems follow, but not the one it was typed in: more may stand there."""
        is_new = text != self.draft.text
        self.draft = replace(self.draft, text=text)
        self.recipe, self.problems = read(text, self.draft.path)
        await self.form.show(recipe_text.raw_of(text), self.problems, is_echo=typed == "form")
        if typed != "toml" and self.toml.text != text:
            with self.toml.prevent(TextArea.Changed):
                self.toml.load_text(text)
        self.show_name()
        self._tell_problems()
        if is_new or self.seen is None:
            self.seen = None
            self.refresh_olive()
            self._after("look", LOOK_SECONDS, self.look)

    def _tell_problems(self, before: str = "") -> None:
        if not self.problems:
            self.clear_problem()
            return
        first, more = self.problems[0], len(self.problems) - 1
        rest = f" ({more} more.)" if more else ""
        hint = "" if first.hint == "Correct that line." else first.hint
        self.tell_problem(RecipeError(f"{before}{self.draft.path.name}:{first.line}: {first.message}{rest}", hint))

    def show_wrong(self) -> None:
        """To the first thing that keeps the recipe from being started."""
        row = next((row for row in self.form.rows() if row.misread), None)
        if row is not None:
            self.tell_problem(f"Nothing is started. '{row.name}': {row.misread}")
        elif self.problems:
            self._tell_problems("Nothing is started. ")
            row = self.form.row_of(self.problems[0].place)
        self.action_page("form" if row else "toml")
        self._lay_out()
        if row is not None:
            self.call_after_refresh(row.take_focus)
        elif self.problems:
            self.call_after_refresh(self._show_line, self.problems[0].line)

    def _show_line(self, line: int) -> None:
        self.toml.focus()
        self.toml.move_cursor((min(line, self.toml.document.line_count) - 1, 0))

    def _after(self, name: str, seconds: float, action) -> None:
        """Do it so long after the last time it was asked for."""
        if name in self._waits:
            self._waits[name].stop()
        self._waits[name] = self.set_timer(seconds, action)

    # Adapters and defaults.

    @on(AddAdapter)
    async def action_add_adapter(self) -> None:
        await self.flush()
        try:
            await self.put(recipe_text.with_adapter(self.draft.text))
        except ToolkitError as exc:
            self.tell_problem(exc)
            return
        if "adapters" in (raw := recipe_text.raw_of(self.draft.text) or {}):
            row = self.form.row_of(("adapters", len(raw["adapters"]) - 1, "name"))
            if row:
                row.take_focus()

    @on(RemoveAdapter)
    def remove_asked(self, event: RemoveAdapter) -> None:
        self._ask_to_remove(event.number)

    def action_remove_adapter(self) -> None:
        match self.form.current.place if self.form.current else ():
            case ("adapters", int(number), _):
                self._ask_to_remove(number)

    def _ask_to_remove(self, number: int) -> None:
        async def answered(yes: bool | None) -> None:
            if yes:
                await self.flush()
                await self.put(recipe_text.without_adapter(self.draft.text, number))

        self.app.push_screen(Confirm(f"Remove adapter {number + 1} from the recipe?", "Its data files stay where they are."), answered)

    async def action_default(self) -> None:
        """The default for the field one is, or was, in."""
        field = self.form.current
        if field is None or (row := self.form.row_of(field.place)) is None:
            return
        await self.flush()
        row.misread = ""
        await self.put(recipe_text.without(self.draft.text, field.place))

    # Olive, data and plan; each looked at in the background.

    @work(thread=True, exclusive=True, exit_on_error=False, group="olive")
    def refresh_olive(self) -> None:
        recipe = self.recipe
        try:
            text = as_text(olive_of(self.bench, recipe)) if recipe else ""
        except ToolkitError as exc:
            text = f"{exc.message}\n{exc.hint}"
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self.show_olive, text, recipe is not None)

    def show_olive(self, text: str, is_sound: bool) -> None:
        title = "What Olive is asked, step by step" if is_sound else "What Olive was asked before the recipe went wrong"
        self.query_one("#olive-title", Static).update(title)
        if not is_sound or text == self.olive.text:
            return
        old, new = self.olive.text.splitlines(), text.splitlines()
        changed = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
        self.olive.load_text(text)
        self.olive.scroll_to(y=max(0, changed - 5), animate=False)

    def action_look_again(self) -> None:
        self.seen = None
        self.look()

    def look(self) -> None:
        """Look at data and plan where one of them is shown and the recipe has changed since the last look."""
        if self.page not in ("data", "plan") or not self.is_current:
            return
        if self.seen is not None:
            if self.is_plan_old:
                self.plan_anew(self.seen)
            return
        if self.recipe is None:
            self._say("The recipe is not complete yet; see above.")
            return
        self._say("Looking at the data...")
        self.preview_in_background()

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def plan_anew(self, seen: Preview) -> None:
        """Runs came and went meanwhile."""
        worker, anew = get_current_worker(), planned_anew(self.engine_bench(), seen)
        if not worker.is_cancelled:
            self.app.call_from_thread(lambda: self.show_seen(anew, self.recipe) if self.seen is seen else None)

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def preview_in_background(self) -> None:
        worker, recipe, told = get_current_worker(), self.recipe, [0.0]

        def tell(adapter: str, rows: int) -> None:
            now = time.monotonic()
            if now - told[0] >= self.pace.frame_seconds or not told[0]:
                told[0] = now
                self.app.call_from_thread(self._say, f"Looking at the data: {adapter}, {rows:,} rows...")

        try:
            seen = preview(self.engine_bench(), recipe, tell, lambda: worker.is_cancelled)
        except Left:
            return
        if not worker.is_cancelled:
            self.app.call_from_thread(self.show_seen, seen, recipe)

    def show_seen(self, seen: Preview, recipe: Recipe) -> None:
        if recipe is self.recipe:
            self.seen, self.is_plan_old = seen, False
            self.query_one(DatasetView).show(seen)
            self.query_one(PlanView).show(seen)

    def _say(self, text: str) -> None:
        self.query_one(DatasetView).say(text)
        self.query_one(PlanView).say(text)

    @on(Select.Changed, "#engine")
    def engine_chosen(self) -> None:
        self.action_look_again()

    def engine_bench(self) -> Workbench:
        """The workbench with the engine that is chosen here."""
        chosen = str(self.query_one("#engine", Select).value)
        return replace(self.bench, settings=replace(self.bench.settings, engine=chosen))

    def edit(self, path: str = "") -> None:
        """Open a recipe here; empty: let the person choose."""
        wanted = Path(path).expanduser() if path else None
        if not self.is_open:
            self.wanted = wanted
        else:
            self.open_or_ask(wanted) if wanted else self.action_choose()


def _text_area(id: str, **options: bool) -> TextArea:
    area = TextArea(id=id, soft_wrap=True, tab_behavior="focus", compact=True, **options)
    area.cursor_blink = False
    return area
