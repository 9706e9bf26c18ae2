"""From the New-run screen to a run: look at everything, ask about warnings, start, and show it."""

from __future__ import annotations

from collections.abc import Callable

from textual import on, work
from textual.widgets import Button

from toolkit.core.builds import Prepared, driven_alike, inspect_recipe, require_ready, start_build
from toolkit.core.forecast import missing_image
from toolkit.core.recipe import Recipe
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.messages import ShowRun
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.widgets.dialogs import Confirm
from toolkit.tui.widgets.recipe_dialogs import Starting
from toolkit.tui.widgets.recipe_fields import FieldRow

TOLD_WARNINGS = 5
IMAGE_TITLE = "The build image is being made (once)"


class GivenUp(Exception):
    """Nobody wants the run any more."""


class RunStarter(EdgeScreen):
    """Starts `self.recipe`."""

    recipe: Recipe | None

    async def flush(self) -> None:
        raise NotImplementedError

    def engine_bench(self) -> Workbench:
        raise NotImplementedError

    def show_wrong(self) -> None:
        raise NotImplementedError

    @on(Button.Pressed, "#start")
    async def action_start(self) -> None:
        await self.flush()
        if self.recipe is None or any(row.misread for row in self.query(FieldRow)):
            self.show_wrong()
        else:
            self.clear_problem()
            self.look_at_all(self.engine_bench(), self.recipe, self._opened_dialog())

    def _opened_dialog(self) -> Starting:
        """Says what is being done; leaving it gives that up."""
        starting = Starting()
        self.app.push_screen(starting, lambda is_given_up: self.workers.cancel_group(self, "start") if is_given_up else None)
        return starting

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def look_at_all(self, bench: Workbench, recipe: Recipe, starting: Starting) -> None:
        try:
            prepared = require_ready(bench, inspect_recipe(bench, recipe, _teller(starting)))
            running = [run.id for run in driven_alike(bench, recipe)]
        except GivenUp:
            return
        except (ToolkitError, OSError) as exc:
            self.app.call_from_thread(self.refuse, exc, starting)
            return
        self.app.call_from_thread(self.ask_or_go, bench, prepared, running, starting)

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def go(self, bench: Workbench, prepared: Prepared, starting: Starting) -> None:
        def last_word() -> None:
            if not self.app.call_from_thread(starting.bind_over):
                raise GivenUp

        try:
            if missing_image(bench):
                starting.head(IMAGE_TITLE)
            run = start_build(bench, prepared, _teller(starting), last_word)
        except GivenUp:
            return
        except (ToolkitError, OSError) as exc:
            self.app.call_from_thread(self.refuse, exc, starting)
            return
        self.app.call_from_thread(self.opened_run, run, starting)

    def refuse(self, problem: Exception, starting: Starting) -> None:
        """Nothing was started, and why."""
        if not starting.is_given_up:
            starting.finish()
            self.tell_problem(problem if isinstance(problem, ToolkitError) else f"{type(problem).__name__}: {problem}")

    def ask_or_go(self, bench: Workbench, prepared: Prepared, running: list[str], starting: Starting) -> None:
        """Start at once, or once the person has agreed to what there is to think of."""
        if starting.is_given_up:
            return
        if not running and not prepared.warnings:
            self.go(bench, prepared, starting)
            return
        starting.finish()

        def answered(yes: bool | None) -> None:
            if yes:
                self.go(bench, prepared, self._opened_dialog())

        self.app.push_screen(Confirm(*_question(prepared, running), "Start"), answered)

    def opened_run(self, run: Run, starting: Starting) -> None:
        starting.finish()
        self.post_message(ShowRun(run.id))


def _teller(starting: Starting) -> Callable[[str], None]:
    """Passes lines on to the dialog; ends the work where that was given up."""

    def say(line: str) -> None:
        if starting.is_given_up:
            raise GivenUp
        starting.say(line)

    return say


def _question(prepared: Prepared, running: list[str]) -> tuple[str, str]:
    """What to ask before the start, and why."""
    warnings = prepared.warnings
    told = [f"• {run} is a run of this recipe and is going on; both would share this machine." for run in running]
    told += [f"• {warning}" for warning in warnings[:TOLD_WARNINGS]]
    if len(warnings) > TOLD_WARNINGS:
        told.append(f"({len(warnings) - TOLD_WARNINGS} more; see Data.)")
    if running:
        return f"Start another run of {prepared.recipe.name}?", "\n".join(told)
    return f"Start with {f'{len(warnings)} warnings' if len(warnings) > 1 else 'a warning'}?", "\n".join(told)
