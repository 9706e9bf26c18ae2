"""The files of the New-run screen: open, save, and what happens to a file meanwhile."""

from __future__ import annotations

from pathlib import Path

from textual import work
from textual.timer import Timer
from textual.widgets import Static

from toolkit.core import recipe_text
from toolkit.core.recipe_text import Draft
from toolkit.errors import ToolkitError
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.widgets.dialogs import AskText, Confirm
from toolkit.tui.widgets.recipe_dialogs import ChooseRecipe

NEWS = {
    "changed": "{name} was changed on the disk meanwhile. ctrl+o opens it anew; ctrl+s asks before it writes over it.",
    "gone": "{name} is gone from the disk. ctrl+s writes it anew.",
}


class RecipeFiles(EdgeScreen):
    """Opens and saves `self.draft`; the screen shows it by `put`."""

    draft: Draft
    wanted: Path | None = None
    """What to open once the screen is there."""
    is_plan_old = False
    """Something else was shown since the plan was made, and runs may have come and gone."""
    is_open = False
    """The first recipe is being read, or was."""
    _disk_timer: Timer | None = None
    _told_news = ""

    async def put(self, text: str) -> None:
        raise NotImplementedError

    async def flush(self) -> None:
        raise NotImplementedError

    def on_mount(self) -> None:
        self.query_one("#page-tabs").focus()
        self.query_one("#which", Static).update("Reading the recipe...")
        self.call_after_refresh(self.open_first)

    async def open_first(self) -> None:
        """Once the screen is seen: the form has many fields and takes its time."""
        self.is_open = True
        await self.open(self.wanted or recipe_text.sample_recipe(self.bench.settings))

    def unsaved(self) -> str:
        return f"The recipe {self.draft.path.name} has unsaved changes. They are lost." if self.draft.is_changed else ""

    async def on_screen_resume(self) -> None:
        if self._disk_timer is None:
            self._disk_timer = self.set_interval(self.pace.list_seconds, self.watch_disk)
        self._disk_timer.resume()
        self.look()

    def on_screen_suspend(self) -> None:
        self.is_plan_old = True
        if self._disk_timer:
            self._disk_timer.pause()
        self.workers.cancel_group(self, "look")

    def look(self) -> None:
        """Look at data and plan, where they are shown."""

    def show_name(self) -> None:
        mark = " [changed]" if self.draft.is_changed else ""
        kind = " (the sample)" if self.is_sample else ""
        text = f"{self.draft.path.stem}{kind}{mark}  {self.draft.path}"
        if self.query_one("#which", Static).content != text:
            self.query_one("#which", Static).update(text)

    @property
    def is_sample(self) -> bool:
        return self.draft.path.resolve() == recipe_text.sample_recipe(self.bench.settings).resolve()

    # The file meanwhile.

    @work(thread=True, exclusive=True, exit_on_error=False, group="disk")
    def watch_disk(self) -> None:
        news = self.draft.disk_news() if self.draft.stamp else ""
        if news != self._told_news:
            self.app.call_from_thread(self.tell_news, news, self.draft)

    async def tell_news(self, news: str, of: Draft) -> None:
        """The file was changed or removed by somebody else."""
        if of.path != self.draft.path or of.stamp != self.draft.stamp:
            return
        self._told_news = news
        if news == "changed" and not self.draft.is_changed:
            await self.open(self.draft.path)
            self.notify(f"{self.draft.path.name} was changed on the disk and is shown as it is now.")
        elif news:
            self.tell_problem(NEWS[news].format(name=self.draft.path.name))

    # Open.

    async def open(self, path: Path) -> None:
        """Show the recipe of a file; one that cannot be read leaves what is here."""
        try:
            draft = recipe_text.opened(path)
        except ToolkitError as exc:
            self.tell_problem(exc)
            return
        self._told_news = ""
        self.draft = draft
        self.seen = None
        await self.put(draft.text)

    @work(thread=True, exclusive=True, exit_on_error=False, group="recipes")
    def action_choose(self) -> None:
        files = recipe_text.recipes(self.bench.settings)
        self.app.call_from_thread(self.offer, files)

    def offer(self, files: list[recipe_text.RecipeFile]) -> None:
        self.app.push_screen(ChooseRecipe(files), self.open_or_ask)

    def open_or_ask(self, path: Path | None) -> None:
        """Open a recipe; where this one is not saved, ask first."""

        async def answered(yes: bool | None) -> None:
            if yes:
                await self.open(path)

        if path is None:
            return
        if not self.draft.is_changed:
            self.call_later(self.open, path)
            return
        self.app.push_screen(
            Confirm(f"Leave the changes of {self.draft.path.name} unsaved?", f"{path.name} is opened in its place.", "Leave them"), answered
        )

    # Save.

    async def action_save(self) -> None:
        await self.flush()
        if self.is_sample:
            place = recipe_text.place_to_save(self.bench.settings, self.draft.path, self.draft.text)
            note = "The sample stays as it is; its data is still found from there."
            self.app.push_screen(AskText("Save this recipe as", str(place), note), self.save_as)
            return
        if self.draft.stamp and self.draft.disk_news() == "changed":
            self._confirm_over(self.draft.path, "Somebody changed it since it was opened here.")
            return
        await self.write(self.draft.path)

    async def save_as(self, name: str | None) -> None:
        if name is None or not name.strip():
            return
        path = Path(name.strip()).expanduser()
        path = path if path.is_absolute() else self.bench.settings.recipes / path
        path = path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")
        if path.resolve() == recipe_text.sample_recipe(self.bench.settings).resolve():
            self.tell_problem("The sample's own recipe is not written over. Save it under another name.")
        elif path.exists():
            self._confirm_over(path, "What it holds now is lost.")
        else:
            await self.write(path)

    def _confirm_over(self, path: Path, consequence: str) -> None:
        async def answered(yes: bool | None) -> None:
            if yes:
                await self.write(path)

        self.app.push_screen(Confirm(f"Write over {path.name}?", consequence, "Write"), answered)

    async def write(self, path: Path) -> None:
        try:
            self.draft = recipe_text.saved(self.draft, path)
        except ToolkitError as exc:
            self.tell_problem(exc)
            return
        self._told_news = ""
        await self.put(self.draft.text)
        self.notify(f"Saved as {path}.")
