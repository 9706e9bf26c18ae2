"""What a push moves: planned, then layer by layer as it goes, then what came of it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from toolkit.core.files import as_duration, as_size
from toolkit.core.image_layers import GROUPS
from toolkit.core.publish_plan import PublishPlan, in_words
from toolkit.core.run import RunState, StepState
from toolkit.core.wording import seconds_left
from toolkit.tui.harmless import harmless, harmless_line
from toolkit.tui.widgets.size_bar import Bar, SizeBars


class Moves(VerticalScroll):
    """Scrolls with the arrows once it has the focus."""

    can_focus = True

    def compose(self) -> ComposeResult:
        yield SizeBars()
        yield Static("", markup=False, id="told")

    def on_mount(self) -> None:
        self._told = ""
        self.border_title = "What moves"

    def show_plan(self, plan: PublishPlan) -> None:
        largest = max((planned.layer.bytes for planned in plan.layers), default=0) or 1
        bars = [
            Bar(p.layer.group, harmless_line(p.layer.name), as_size(p.layer.bytes), p.layer.bytes / largest, p.status) for p in plan.layers
        ]
        self._show("Plan", bars, in_words(plan))

    def show_run(self, run: str, state: RunState, now: float) -> None:
        push = state.steps.get("push", StepState("push"))
        bars = [_moving(name, done, total, push.status, state.has_ending) for name, (done, total) in push.parts.items()]
        self._show(f"{run}: {state.status}", bars, _outcome(run, state, now))

    def say(self, text: str) -> None:
        self._show("What moves", [], text)

    def _show(self, title: str, bars: list[Bar], text: str) -> None:
        self.border_title = title
        self.query_one(SizeBars).show(bars)
        if text != self._told:
            self._told = text
            self.query_one("#told", Static).update(harmless(text))


def _moving(name: str, done: float, total: float, status: str, is_over: bool) -> Bar:
    group = name.partition(" ")[0]
    is_there = (total and done >= total) or status == "finished"
    word = "there" if is_there else "not sent" if is_over else "moving" if done else "waiting"
    share = 1.0 if is_there else done / total if total else 0.0
    return Bar(group if group in GROUPS else "other", harmless_line(name), as_size(total) if total else "", 1.0, word, share)


def _outcome(run: str, state: RunState, now: float) -> str:
    if state.status == "finished":
        return _finished(state)
    if state.has_ending:
        return f"^r goes on with {run}: layers already there do not move again."
    current = state.current
    return f"{_doing(current, now) if current else 'Starting'}\nIt goes on without this screen, and without this terminal."


def _doing(step: StepState, now: float) -> str:
    """The step under way, and a line of its own for the layer."""
    if step.name != "push":
        return {"verify": "Reading the digest back"}.get(step.name, step.name)
    parts = [f"Pushing {as_size(step.done)}" + (f" of at most {as_size(step.total)}" if step.total else "")]
    left = seconds_left(step, now)
    parts += [f"ETA {as_duration(left)}"] if left is not None else []
    return "  ".join(parts) + (f"\n{step.message}" if step.message else "")


def _finished(state: RunState) -> str:
    metrics = state.steps["push"].metrics if "push" in state.steps else {}
    moved, there = (int(metrics.get(key, 0)) for key in ("layers_pushed", "layers_already_there"))
    release = release_of(state)
    size = next((artifact.bytes for artifact in state.artifacts if artifact.kind == "release"), 0)
    return f"Pushed and read back; {moved} layers moved, {there} were there, {as_size(size)} packed in all.\n{release}\ny copies it."


def release_of(state: RunState) -> str:
    """`HOST/REPOSITORY@sha256:...` of a finished push; empty before."""
    return next((artifact.path for artifact in state.artifacts if artifact.kind == "release"), "")
