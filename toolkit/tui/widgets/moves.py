"""What publishing moves: planned, then layer by layer and file by file as it goes, then what came of it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from toolkit.core.files import as_size
from toolkit.core.image_layers import GROUPS
from toolkit.core.publish_plan import PublishPlan
from toolkit.core.run import RunState, StepState
from toolkit.core.whole_plan import WholePlan
from toolkit.tui.harmless import harmless, harmless_line
from toolkit.tui.widgets.publish_words import outcome, plan_in_words, registered_of, steps_line
from toolkit.tui.widgets.size_bar import Bar, SizeBars

FOLDERS = {"model": "model", "adapters": "adapter"}
"""First folder of a file that is registered -> its group."""


class Moves(VerticalScroll):
    """Scrolls with the arrows once it has the focus."""

    can_focus = True

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, id="steps")
        yield SizeBars()
        yield Static("", markup=False, id="told")

    def on_mount(self) -> None:
        self._told = self._steps = ""
        self.border_title = "What moves"

    def show_plan(self, plan: WholePlan) -> None:
        self._show("Plan", _planned(plan.push) if plan.push else [], plan_in_words(plan))

    def show_run(self, run: str, state: RunState, now: float) -> None:
        self._show(f"{run}: {state.status}", _bars(state), outcome(run, state, now), steps_line(state))

    def say(self, text: str) -> None:
        self._show("What moves", [], text)

    def _show(self, title: str, bars: list[Bar], text: str, steps: str = "") -> None:
        self.border_title = title
        self.query_one(SizeBars).show(bars)
        if text != self._told:
            self._told = text
            self.query_one("#told", Static).update(harmless(text))
        if steps != self._steps:
            self._steps = steps
            self.query_one("#steps", Static).update(harmless(steps))
            self.set_class(bool(steps), "-steps")


def _planned(plan: PublishPlan) -> list[Bar]:
    largest = max((planned.layer.bytes for planned in plan.layers), default=0) or 1
    return [Bar(p.layer.group, harmless_line(p.layer.name), as_size(p.layer.bytes), p.layer.bytes / largest, p.status) for p in plan.layers]


def _bars(state: RunState) -> list[Bar]:
    """Of the step that moves something now, or moved something last; none once a model is registered: then its address counts."""
    if state.status == "finished" and registered_of(state):
        return []
    begun = [step for step in state.steps.values() if step.parts and step.status != "waiting"]
    step = next((step for step in begun if step.status in ("running", "failed")), begun[-1] if begun else None)
    step = step or next((step for step in state.steps.values() if step.parts), StepState("push"))  # halted
    return [_moving(step.name, name, done, total, step.status, state.has_ending) for name, (done, total) in step.parts.items()]


def _moving(step: str, name: str, done: float, total: float, status: str, is_over: bool) -> Bar:
    is_there = (total and done >= total) or status == "finished"
    word = "there" if is_there else "not sent" if is_over else "moving" if done else "waiting"
    share = 1.0 if is_there else done / total if total else 0.0
    shown = name if step == "push" else name.partition("/")[2] or name
    return Bar(_group(step, name), harmless_line(shown), as_size(total) if total else "", 1.0, word, share)


def _group(step: str, name: str) -> str:
    if step == "push":
        group = name.partition(" ")[0]
        return group if group in GROUPS else "other"
    folder, has_folder, _ = name.partition("/")
    return FOLDERS.get(folder, "other") if has_folder else "configuration"
