"""The steps of a run as a pipeline: state, how far, how long, how large before and after; a failed one says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from toolkit.core.files import as_duration, as_size
from toolkit.core.results import Sizes
from toolkit.core.run import RunState, StepState
from toolkit.core.wording import seconds_left
from toolkit.tui.harmless import harmless_line

SIGNS = {"waiting": "-", "running": "►", "finished": "■", "failed": "!"}
STYLES = {"waiting": "dim", "running": "$primary bold", "finished": "$success", "failed": "$error bold"}
NAME = 22
"""Columns of a name at most, where room is short."""


def row_of(step: StepState, sizes: Sizes | None, now: float, width: int, name_width: int) -> Content:
    """One step in a line or two, three where it failed."""
    word = (
        "cached"
        if step.cached
        else "done"
        if step.status == "finished"
        else step.status.upper()
        if step.status == "failed"
        else step.status
    )
    style = STYLES.get(step.status, "")
    head = Content.assemble(
        (f"{SIGNS.get(step.status, '?')} ", style),
        (f"{_fitted(harmless_line(step.name), name_width):<{name_width}} ", "bold" if step.status == "running" else ""),
        (f"{word:<7} ", style),
    )
    room = width - head.cell_length
    lines = [head + _facts(step, sizes, now, room)]
    if step.status == "running" and step.message:
        lines.append(Content.styled(_fitted(f"  {harmless_line(step.message)}", width), "dim"))
    if step.status == "failed":
        lines += [Content.styled(f"  {harmless_line(step.error)}", "$error")] + (
            [Content(f"  {harmless_line(step.hint)}")] if step.hint else []
        )
    return Content("\n").join(lines)


def _facts(step: StepState, sizes: Sizes | None, now: float, room: int) -> Content:
    if step.status == "running":
        return _progress(step, now, room)
    if step.status != "finished":
        return Content("")
    took = f"{'' if step.cached else as_duration(step.seconds):>10} "
    return Content(took + _size(sizes, room - len(took)))


def _size(sizes: Sizes | None, room: int) -> str:
    """Before and after where both are known and there is room for both."""
    if sizes is None or not sizes.after:
        return ""
    after = f"{as_size(sizes.after):>8}"
    both = f"{as_size(sizes.before):>8} → {after.strip()}" if sizes.before else after
    return both if len(both) <= room else after


def _progress(step: StepState, now: float, room: int) -> Content:
    """A bar and its percentage where the total is known, the count, and the time left; as much as there is room for."""
    parts: list[Content] = []
    if step.total:
        share = min(max(step.done / step.total, 0.0), 1.0)
        cells = 16 if room >= 60 else 8
        full = round(share * cells)
        parts.append(Content.assemble(("█" * full, "$primary"), ("░" * (cells - full), "dim"), f" {share:4.0%}"))
    left = seconds_left(step, now)
    if left is not None:
        parts.append(Content(f"ETA {as_duration(left)}"))
    elif step.started_at:
        parts.append(Content(f"for {as_duration(max(now - step.started_at, 0))}"))
    if step.unit and (step.done or step.total):
        parts.append(Content(_count(step)))
    told = Content("")
    for part in parts:
        if told.cell_length + part.cell_length + 2 > room:
            break
        told = told + ("  " if told else "") + part
    return told


def _count(step: StepState) -> str:
    figure = as_size if step.unit == "bytes" else "{:g}".format
    unit = "" if step.unit == "bytes" else f" {harmless_line(step.unit)}"
    return f"{figure(step.done)} of {figure(step.total)}{unit}" if step.total else f"{figure(step.done)}{unit}"


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 2, 1)] + ".."


class StepRow(Static):
    """One step; repainted only where its text has changed."""

    def __init__(self, name: str) -> None:
        super().__init__("", markup=False)
        self.step_name = name
        self._told = ""

    def tell(self, step: StepState, content: Content, is_chosen: bool) -> None:
        self.set_class(is_chosen, "-chosen")
        if step.status == "failed" and not self.has_class("-failed"):
            self.call_after_refresh(self.scroll_visible, animate=False)
        for status in STYLES:
            self.set_class(step.status == status, f"-{status}")
        if self._told != content.markup:
            self._told = content.markup
            is_as_high = step.status != "failed" and self.size.height == self._told.count("\n") + 1
            self.update(content, layout=not is_as_high)


class StepList(VerticalScroll, can_focus=True):
    """The steps; up and down choose one, Enter opens its own log."""

    BINDINGS = [
        Binding("up,k", "choose(-1)", "Step before", show=False),
        Binding("down,j", "choose(1)", "Next step", show=False),
        Binding("enter", "open", "Log of step"),
    ]

    @dataclass
    class Opened(Message):
        step: str

    @dataclass
    class Chosen(Message):
        step: str

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.chosen: str | None = None
        self._state = RunState()
        self._sizes: Mapping[str, Sizes] = {}
        self._now = 0.0

    def compose(self) -> ComposeResult:
        yield Static("Waiting for the first event.", classes="muted empty")

    def show(self, state: RunState, sizes: Mapping[str, Sizes], now: float) -> None:
        """Draw these steps; `now` by the clock that the events were written by."""
        self._state, self._sizes, self._now = state, sizes, now
        rows = {row.step_name: row for row in self.query(StepRow)}
        if list(rows) != list(state.steps):
            for row in self.query("StepRow, .empty"):
                row.remove()
            rows = {name: StepRow(name) for name in state.steps}
            self.mount(*rows.values())
        self._tell(rows)

    def _tell(self, rows: Mapping[str, StepRow]) -> None:
        width = (self.content_size.width or 78) - 1  # a scrollbar may come
        longest = max(map(len, rows), default=0)
        name_width = longest if width - longest > 46 else min(longest, NAME)
        for name, row in rows.items():
            content = row_of(self._state.steps[name], self._sizes.get(name), self._now, width, name_width)
            row.tell(self._state.steps[name], content, name == self.chosen)

    def on_resize(self, event: events.Resize) -> None:
        self._tell({row.step_name: row for row in self.query(StepRow) if row.step_name in self._state.steps})

    def action_choose(self, by: int) -> None:
        names = list(self._state.steps)
        if not names:
            return
        at = names.index(self.chosen) + by if self.chosen in names else (0 if by > 0 else len(names) - 1)
        self._choose(names[min(max(at, 0), len(names) - 1)])

    def _choose(self, name: str) -> None:
        self.chosen = name
        self.post_message(self.Chosen(name))
        for row in self.query(StepRow):
            row.set_class(row.step_name == name, "-chosen")
            if row.step_name == name:
                row.scroll_visible(animate=False)

    def action_open(self) -> None:
        step = self.chosen or (self._state.current.name if self._state.current else next(iter(self._state.steps), None))
        if step:
            self.post_message(self.Opened(step))

    def on_click(self, event: events.Click) -> None:
        if isinstance(event.widget, StepRow):
            self._choose(event.widget.step_name)
            if event.chain == 2:
                self.action_open()
