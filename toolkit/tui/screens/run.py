"""The run screen: one run, live, from its first event; steps, curves, log and events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textual import events, getters, on, work
from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import get_current_worker

from toolkit.core import results
from toolkit.core.adapter_price import prices
from toolkit.core.compare import is_comparison, weighed
from toolkit.core.explain import explain
from toolkit.core.logfile import log_path, plain
from toolkit.core.outlook import outlook
from toolkit.core.results import Answer, Backdrop
from toolkit.core.run import Run, RunState
from toolkit.core.watch import Moment, Picture, Watcher, watch
from toolkit.core.workbench import Workbench
from toolkit.errors import RunMissing, ToolkitError
from toolkit.tui.messages import ShowRun
from toolkit.tui.screens.run_next import RunNext, WayOn
from toolkit.tui.widgets import run_result
from toolkit.tui.widgets.line_view import LineView
from toolkit.tui.widgets.log_pane import NOTHING_YET, LogPane
from toolkit.tui.widgets.pane_tabs import PaneTabs
from toolkit.tui.widgets.run_header import RunHeader, headline, outcome
from toolkit.tui.widgets.run_plots import RunPlots
from toolkit.tui.widgets.step_list import StepList

WHOLE_LOG = "log of the run"
PANES = {"steps": "Steps", "plots": "Curves", "log": "Log", "events": "Events"}


class MomentLines:
    """Notable events as lines with the time of day."""

    def __init__(self) -> None:
        self.moments: Sequence[Moment] = ()

    def __len__(self) -> int:
        return len(self.moments)

    def line(self, number: int) -> str:
        return plain(self.whole(number))

    def whole(self, number: int) -> str:
        moment = self.moments[number]
        return f"{time.strftime('%H:%M:%S', time.localtime(moment.at))} {moment.text}"


class RunScreen(RunNext):
    place = "home"
    CSS_PATH = "run.tcss"
    BINDINGS = [
        Binding("tab", "next_pane(1)", "Next pane", show=False),
        Binding("shift+tab", "next_pane(-1)", "Pane before", show=False),
        Binding("l", "show_log", "Log"),
        Binding("m", "show_pane('plots')", "Curves", show=False),
        Binding("e", "show_pane('events')", "Events", show=False),
        Binding("escape", "app.pop_screen", "Back"),
    ]
    steps = getters.query_one(StepList)
    plots = getters.query_one(RunPlots)
    log_pane = getters.query_one(LogPane)
    events_view = getters.query_one("#events", LineView)
    tabs = getters.query_one(PaneTabs)

    @dataclass
    class Seen(Message):
        picture: Picture

    @dataclass
    class Learned(Message):
        """What the screen knows besides the events."""

        known: Backdrop
        question: str
        answers: list[Answer]

    def __init__(self, bench: Workbench, run_id: str) -> None:
        super().__init__(bench, run_id)
        self.known = Backdrop()
        self.answers: tuple[str, list[Answer]] = ("", [])
        self.front = "steps"
        self._watcher: Watcher | None = None
        self._plotted_at = 0.0
        self._told_result = ""

    def way_back(self) -> tuple[Message, ...]:
        return (*super().way_back(), ShowRun(self.run_id))

    def body(self) -> Iterable[Widget]:
        yield RunHeader(is_one_line=True, id="headline")
        yield RunHeader(id="outcome", classes="-empty")
        yield PaneTabs(PANES)
        with Container(id="panes"):
            with Vertical(id="steps-pane", classes="pane"):
                yield StepList(id="steps")
                yield Static("", markup=False, id="about")
                with VerticalScroll(id="result-room", can_focus=False):
                    yield Static("", markup=False, id="result")
            yield RunPlots(id="plots", classes="pane")
            yield LogPane(id="log", classes="pane")
            yield LineView(MomentLines(), id="events", classes="pane")

    def on_mount(self) -> None:
        for pane, title in PANES.items():
            self._pane(pane).border_title = title
        self.action_show_pane("steps")
        self.set_interval(1.0, self._tick)

    def on_screen_resume(self) -> None:
        self._follow()
        self.log_pane.go_on()

    def on_screen_suspend(self) -> None:
        """What nobody looks at is not followed; coming back goes on where it was."""
        self.workers.cancel_group(self, "watch")
        self.log_pane.pause()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "show_log":
            return self.front != "log" or self.log_pane.label != WHOLE_LOG
        return super().check_action(action, parameters)

    # -- following ----------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="watch")
    def _follow(self) -> None:
        worker, app = get_current_worker(), self.app
        try:
            self._watcher = self._watcher or Watcher(self.bench, self.bench.run(self.run_id))
        except RunMissing:
            self.post_message(self.Seen(Picture(self.run_id, is_gone=True)))
            return
        watch(
            self._watcher,
            lambda picture: worker.is_cancelled or self.post_message(self.Seen(picture)),
            lambda: worker.is_cancelled,
            lambda: app.pace.frame_seconds,
        )

    @work(thread=True, exclusive=True, exit_on_error=False, group="learn")
    def _learn(self, state: RunState) -> None:
        run = self.bench.run(self.run_id)
        known = self.known if self.known.kind else results.backdrop(self.bench, run)
        self.post_message(self.Learned(known, *results.smoke_answers(run, state)))

    @on(Seen)
    def show_picture(self, message: Seen) -> None:
        if not self.steps.is_attached:  # the app is being left
            return
        before, self.picture = self.picture, message.picture
        state = self.picture.state
        if not self.log_pane.label and not self.picture.is_gone:
            self.action_show_log(is_chosen=False)
        if state.status != before.state.status or state.finished_steps != before.state.finished_steps or self.picture.read < 1:
            self._status_changed(state)
        self._tell_problems(before)
        self._draw()

    def _status_changed(self, state: RunState) -> None:
        self.refresh_bindings()
        if self.picture.is_gone or self.picture.read < 1:
            return
        self._learn(state)
        if state.has_ending:
            self.find_way_on()
        else:
            self.way_on = WayOn()

    def _tell_problems(self, before: Picture) -> None:
        if self.picture.is_gone:
            self.tell_problem(f"{self.run_id} was deleted. Esc: back")
            self.refresh_bindings()
        elif self.picture.problem:
            self.tell_problem(self.picture.problem)
        elif before.problem or self.picture.state.status != before.state.status:
            self.clear_problem()

    @on(Learned)
    def take_in(self, message: Learned) -> None:
        self.known, self.answers = message.known, (message.question, message.answers)
        if self.steps.is_attached:
            self._draw()

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        picture, state, now = self.picture, self.picture.state, self.bench.clock()
        self._draw_head(now)
        self.query_one("#outcome", RunHeader).tell(outcome(state) if picture.read >= 1 else Content(""))
        self.steps.show(state, results.sizes_of(self.known, state), now)
        self._draw_about()
        self._say_why_empty(state)
        self._draw_result(state)
        if not self.pace.is_slow or state.has_ending or time.monotonic() - self._plotted_at >= 2 * self.pace.list_seconds:
            self._plotted_at = time.monotonic()
            self.plots.show(picture)
        lines = self.events_view.lines
        if isinstance(lines, MomentLines) and lines.moments != picture.moments:
            lines.moments = picture.moments
            self.events_view.renew()

    def _say_why_empty(self, state: RunState) -> None:
        is_all_cached = state.has_ending and bool(state.steps) and all(step.cached for step in state.steps.values())
        self.log_pane.empty_text = "No output: every step came from the cache." if is_all_cached else NOTHING_YET

    def _draw_head(self, now: float) -> None:
        prospect = outlook(self.known.recipe, self.picture.state, self.known.taken, now)
        head = self.query_one("#headline", RunHeader)
        head.tell(headline(self.picture, prospect, now, head.content_size.width))

    @on(StepList.Chosen)
    def _draw_about(self) -> None:
        """What the step does that is chosen, else the one under way."""
        current = self.picture.state.current
        step = self.known.steps.get(self.steps.chosen or (current.name if current else ""), {})
        told = explain(step.get("kind", ""), step.get("options"))
        about = self.query_one("#about", Static)
        if about.content != told:
            about.update(told)
            about.set_class(bool(told), "-told")

    def _draw_result(self, state: RunState) -> None:
        told = self._result(state)
        if told.markup != self._told_result:
            self._told_result = told.markup
            self.query_one("#result", Static).update(told)
            self.query_one("#result-room").set_class(bool(told), "-told")

    def _result(self, state: RunState) -> Content:
        if self.known.kind == "build" and is_comparison(self.known.steps.values()):
            return run_result.comparison(weighed(self.known.steps, state), self.known.note)
        if self.known.kind == "build":
            return run_result.measurements(results.measured(self.known, state), prices(list(self.known.steps.values()), state))
        if self.known.kind == "package":
            parts = [run_result.image_facts(self.known, state), run_result.layers(state, 60), run_result.answers(*self.answers)]
            return Content("\n").join([part for part in parts if part])
        return run_result.publication(self.known, results.release_of(state), state, 60)

    def _tick(self) -> None:
        """The time that passes; nothing else changes without an event."""
        state = self.picture.state
        if self.is_current and not state.has_ending and state.requested_at and not self.picture.is_gone:
            now = self.bench.clock()
            if not self.pace.is_slow or int(now) % round(self.pace.list_seconds) == 0:
                self._draw_head(now)

    # -- panes --------------------------------------------------------------------------------------------------------

    def _pane(self, name: str) -> Widget:
        return self.query_one("#steps-pane" if name == "steps" else f"#{name}")

    def action_next_pane(self, by: int) -> None:
        names = list(PANES)
        self.action_show_pane(names[(names.index(self.front) + by) % len(names)])

    @on(PaneTabs.Chosen)
    def choose_pane(self, message: PaneTabs.Chosen) -> None:
        self.action_show_pane(message.pane)

    def action_show_pane(self, name: str) -> None:
        """Bring a pane to the front where there is room for one, and let it have the keys."""
        self._set_front(name)
        (self.log_pane.view if name == "log" else self.query_one(f"#{name}")).focus(scroll_visible=False)

    def _set_front(self, name: str) -> None:
        self.front = name
        for pane in PANES:
            self._pane(pane).set_class(pane == name, "-front")
        self.tabs.show(name)
        self.refresh_bindings()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """A click into a pane makes it the one that Tab goes on from."""
        for name in PANES:
            if name != self.front and self._pane(name) in event.widget.ancestors_with_self:
                self._set_front(name)

    def action_show_log(self, is_chosen: bool = True) -> None:
        """The log of the whole run."""
        self._open_log("", WHOLE_LOG)
        if is_chosen:
            self.action_show_pane("log")

    @on(StepList.Opened)
    def show_step_log(self, message: StepList.Opened) -> None:
        self._open_log(message.step, f"log of {message.step}")
        self.action_show_pane("log")

    def _open_log(self, step: str, label: str) -> None:
        try:
            self.log_pane.open(log_path(Run(self.bench.settings.runs / self.run_id), step), label)
        except ToolkitError as problem:  # deleted or damaged meanwhile
            self.tell_problem(problem)
