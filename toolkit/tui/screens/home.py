"""Home: every run with how far it is, what can be done with it, the machine, and what the doctor says first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial

from textual import events, on, work
from textual.binding import Binding
from textual.getters import query_one
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from toolkit.core.doctor import PASSING, Check, counted, examine, in_order, worst
from toolkit.core.listing import Roster, Row, fits
from toolkit.core.possible import image_of, why_not_chat, why_not_delete, why_not_package, why_not_publish, why_not_resume, why_not_stop
from toolkit.core.workbench import Workbench
from toolkit.tui.lookout import EngineSeen, Examined, Lookout, MachineSeen, RunsSeen, RunsUnseen
from toolkit.tui.messages import ChatWith, Publish, ShowPlace, ShowRun
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.screens.run_actions import RunActions
from toolkit.tui.ticker import Ticker
from toolkit.tui.widgets.machine_line import MachineLine
from toolkit.tui.widgets.run_table import RunTable
from toolkit.tui.widgets.run_words import about

EMPTY = """\
No runs yet.

n   Make the first one. The form opens with the built-in sample, and
    a plan says what it takes before anything starts.
D   See what this machine lacks.
?   See every key.

Runs go on without this terminal: ctrl+q leaves, `edge` comes back."""
EXAMINE_AGAIN_SECONDS = 60.0


class DoctorLine(Static):
    """What the doctor says first; a click opens all of it."""

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(ShowPlace("doctor"))


class HomeScreen(RunActions, EdgeScreen):
    place = "home"
    CSS_PATH = "home.tcss"
    AUTO_FOCUS = "RunTable"  # never the filter that is not shown: it would swallow every key
    BINDINGS = [
        Binding("n", "new", "New"),
        Binding("r", "resume", "Resume"),
        Binding("s", "stop", "Stop"),
        Binding("d", "delete", "Delete"),
        Binding("p", "package", "Pack"),
        Binding("c", "chat", "Chat"),
        Binding("u", "publish", "Push"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("D", "doctor", "Doctor", show=False),
        Binding("escape", "leave", "Back", show=False),
    ]
    table = query_one(RunTable)
    filter = query_one("#filter", Input)

    def __init__(self, bench: Workbench, checks: Sequence[Check] = PASSING) -> None:
        super().__init__(bench)
        self._checks = checks
        self._roster = Roster(bench)
        self._ticker = Ticker()
        self._rows: Sequence[Row] = ()
        self._engine_problem = ""
        self._examined_at = -EXAMINE_AGAIN_SECONDS

    def body(self) -> Iterable[Widget]:
        yield MachineLine()
        yield DoctorLine("", markup=False, id="doctor")
        yield Input(placeholder="part of a name, kind, state, step or problem; !word leaves out", id="filter", compact=True)
        yield RunTable()
        yield Static("", markup=False, id="empty")
        yield Static("", markup=False, id="about")

    def on_mount(self) -> None:
        self._roster = self.app.roster
        self.filter.cursor_blink = False
        self.table.focus()

    # -- looking, while the screen is shown ---------------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self._look_out)  # what it starts must not hold up the first picture

    def _look_out(self) -> None:
        if not self.is_current:
            return
        self._ticker.stop()
        self._ticker = Ticker()
        lookout = Lookout(self, self.bench, self._roster, self._ticker)
        for group in ("runs", "machine", "engine"):
            self.run_worker(getattr(lookout, f"watch_{group}"), thread=True, exclusive=True, exit_on_error=False, group=group)
        if time.monotonic() - self._examined_at >= EXAMINE_AGAIN_SECONDS:
            self._examined_at = time.monotonic()
            self.call_after_refresh(self._examine)  # the runs are painted first

    def on_screen_suspend(self) -> None:
        self._ticker.stop()

    def on_unmount(self) -> None:
        self._ticker.stop()

    def look_now(self) -> None:
        self._ticker.call()

    @work(thread=True, exclusive=True, exit_on_error=False, group="doctor")
    def _examine(self) -> None:
        worker = get_current_worker()
        findings = in_order(examine(self.bench, self._checks, leave=lambda: worker.is_cancelled), self._checks)
        if not worker.is_cancelled:
            self.post_message(Examined(findings))

    @on(RunsSeen)
    def show_runs(self, message: RunsSeen) -> None:
        self._rows = message.rows
        self._draw()

    @on(RunsUnseen)
    def tell_unseen(self, message: RunsUnseen) -> None:
        self.tell_problem(message.problem)

    @on(MachineSeen)
    def show_machine(self, message: MachineSeen) -> None:
        self.query_one(MachineLine).tell(message.sample, message.disk)

    @on(EngineSeen)
    def show_engine(self, message: EngineSeen) -> None:
        """Told when it goes, and again once what was told meanwhile is gone; taken back when it is there again."""
        bar = self.problem_bar
        if message.problem and bar.told in ("", self._engine_problem):
            self.tell_problem(message.problem)
            self._engine_problem = bar.told
        if not message.problem and self._engine_problem:
            if bar.told == self._engine_problem:
                self.clear_problem()
            self._engine_problem = ""
            self._examine()

    @on(Examined)
    def show_findings(self, message: Examined) -> None:
        first = worst(message.findings)
        line = self.query_one("#doctor", Static)
        line.update(f"Doctor (D): {counted(message.findings)}" + (f": {first.subject}: {first.seen}" if first else ""))
        line.set_classes(f"-{first.level if first else 'ok'}")

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        rows = [row for row in self._rows if fits(row, self.filter.value)]
        self.table.show(rows)
        self.set_class(not rows, "-nothing")
        if not rows:
            self._say("#empty", f"No run fits '{self.filter.value}'." if self._rows else EMPTY)
        self._tell_chosen()

    @on(RunTable.Chosen)
    def _tell_chosen(self) -> None:
        row = self.table.chosen
        self._say("#about", about(row, self._oldest_first) if row else "")

    def _say(self, where: str, text: str) -> None:
        widget = self.query_one(where, Static)
        if str(widget.content) != text:
            widget.update(text)

    @property
    def _oldest_first(self) -> Sequence[Row]:
        return self._rows[::-1]

    # -- keys ---------------------------------------------------------------------------------------------------------

    @on(RunTable.Opened)
    def open(self, message: RunTable.Opened) -> None:
        if message.row.status == "unreadable":
            self.notify(message.row.problem, severity="warning", markup=False)
            return
        self.post_message(ShowRun(message.row.id))

    def _with_chosen(self, why_not, do) -> None:
        """Do it to the chosen run, or say why it cannot be done."""
        row = self.table.chosen
        reason = why_not(row) if row else "There is no run yet: n makes one."
        if reason:
            self.notify(reason, severity="warning", markup=False)
            return
        self.clear_problem()
        do(row)

    def action_new(self) -> None:
        self.post_message(ShowPlace("new"))

    def action_doctor(self) -> None:
        self.post_message(ShowPlace("doctor"))

    def action_resume(self) -> None:
        self._with_chosen(why_not_resume, self.resume_run)

    def action_stop(self) -> None:
        self._with_chosen(why_not_stop, self.stop_run)

    def action_delete(self) -> None:
        self._with_chosen(why_not_delete, self.delete_run)

    def action_package(self) -> None:
        self._with_chosen(why_not_package, self.package_run)

    def action_chat(self) -> None:
        self._with_chosen(partial(why_not_chat, rows=self._oldest_first), lambda row: self.post_message(ChatWith(row.id)))

    def action_publish(self) -> None:
        rows = self._oldest_first
        self._with_chosen(partial(why_not_publish, rows=rows), lambda row: self.post_message(Publish(image_of(row, rows))))

    # -- filter -------------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        self.add_class("-filtering")
        self.filter.focus()

    @on(Input.Changed, "#filter")
    def filter_rows(self) -> None:
        self._draw()

    @on(Input.Submitted, "#filter")
    def keep_filter(self) -> None:
        self.set_class(bool(self.filter.value), "-filtering")
        self.table.focus()

    def action_leave(self) -> None:
        """Out of the filter, then out of a problem told."""
        if self.has_class("-filtering"):
            self.filter.value = ""
            self.remove_class("-filtering")
        else:
            self.clear_problem()
        self.table.focus()
