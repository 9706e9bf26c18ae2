"""From the New-run screen to a run: look at everything, ask about warnings, start, and show it."""

from __future__ import annotations

from textual import on, work
from textual.widgets import Button
from textual.worker import get_current_worker

from toolkit.core.builds import Prepared, inspect_recipe, require_ready, start_build
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


class RunStarter(EdgeScreen):
    """Starts `self.recipe`."""

    recipe: Recipe | None
    starting: Starting | None = None

    async def flush(self) -> None:
        raise NotImplementedError

    def engine_bench(self) -> Workbench:
        raise NotImplementedError

    @on(Button.Pressed, "#start")
    async def action_start(self) -> None:
        await self.flush()
        misread = next((row for row in self.query(FieldRow) if row.misread), None)
        if misread is not None:
            self.tell_problem(f"'{misread.name}': {misread.misread}")
            misread.take_focus()
        elif self.recipe is not None:
            self._wait_for(self.look_at_all(self.engine_bench(), self.recipe))

    def _wait_for(self, _worker: object) -> None:
        """Show what is being done; leaving the dialog gives it up."""
        self.clear_problem()
        self.starting = Starting()
        self.app.push_screen(self.starting, lambda is_given_up: self.give_up() if is_given_up else None)

    def give_up(self) -> None:
        self.starting = None
        self.workers.cancel_group(self, "start")

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def look_at_all(self, bench: Workbench, recipe: Recipe) -> None:
        worker = get_current_worker()
        try:
            prepared = require_ready(bench, inspect_recipe(bench, recipe, self._say_start))
        except (ToolkitError, OSError) as exc:
            if not worker.is_cancelled:
                self.app.call_from_thread(self.refuse, exc)
            return
        if not worker.is_cancelled:
            self.app.call_from_thread(self.ask_or_go, bench, prepared)

    @work(thread=True, exclusive=True, exit_on_error=False, group="start")
    def go(self, bench: Workbench, prepared: Prepared) -> None:
        try:
            run = start_build(bench, prepared, self._say_start)
        except (ToolkitError, OSError) as exc:
            self.app.call_from_thread(self.refuse, exc)
            return
        self.app.call_from_thread(self.opened_run, run)

    def _say_start(self, line: str) -> None:
        if self.starting is not None:
            self.app.call_from_thread(self.starting.say, line)

    def refuse(self, problem: Exception) -> None:
        """Nothing was started, and why."""
        self._close()
        self.tell_problem(problem if isinstance(problem, ToolkitError) else f"{type(problem).__name__}: {problem}")

    def ask_or_go(self, bench: Workbench, prepared: Prepared) -> None:
        self._close()
        warnings = prepared.warnings
        if not warnings:
            self._start(bench, prepared)
            return
        told = "\n".join(f"• {warning}" for warning in warnings[:TOLD_WARNINGS])
        more = f"\n({len(warnings) - TOLD_WARNINGS} more; see Data.)" if len(warnings) > TOLD_WARNINGS else ""
        count = f"{len(warnings)} warnings" if len(warnings) > 1 else "a warning"
        self.app.push_screen(
            Confirm(f"Start with {count}?", told + more, "Start"), lambda yes: self._start(bench, prepared) if yes else None
        )

    def _start(self, bench: Workbench, prepared: Prepared) -> None:
        self._wait_for(self.go(bench, prepared))

    def opened_run(self, run: Run) -> None:
        self._close()
        self.post_message(ShowRun(run.id))

    def _close(self) -> None:
        """Take the dialog away, without giving anything up."""
        starting, self.starting = self.starting, None
        if starting is not None and starting in self.app.screen_stack:
            starting.dismiss(False)
