"""The first line of a run: what it is, how it stands, how long it has taken and still takes; and how it ended."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from toolkit.core.files import as_duration
from toolkit.core.outlook import Outlook
from toolkit.core.run import RunState
from toolkit.core.watch import Picture
from toolkit.tui.harmless import harmless_line

STYLES = {
    "requested": "dim",
    "running": "$primary bold",
    "finished": "$success bold",
    "failed": "$error bold",
    "stopped": "$warning bold",
    "interrupted": "$warning bold",
}


def headline(picture: Picture, prospect: Outlook, now: float, width: int) -> Content:
    """Id, kind, state, driver, elapsed, ETA; who drives it is left out where there is no room."""
    whole = _headline(picture, prospect, now, is_whole=True)
    return whole if whole.cell_length <= width else _headline(picture, prospect, now, is_whole=False)


def _headline(picture: Picture, prospect: Outlook, now: float, is_whole: bool) -> Content:
    state = picture.state
    parts = [Content.styled(harmless_line(picture.run_id), "bold")]
    if picture.read < 1:
        return Content("  ").join([*parts, Content(f"reading its events: {picture.read:.0%}")])
    parts += [Content(state.kind), Content.styled(state.status, STYLES.get(state.status, ""))]
    if state.requests > 1:
        parts.append(Content(f"(try {state.requests})"))
    if state.driver and is_whole:
        parts.append(Content.styled(f"{harmless_line(state.driver)} {harmless_line(state.handle)[:12]}".strip(), "dim"))
    if (passed := elapsed(state, now)) is not None:
        parts.append(Content(f"{'took' if state.has_ending else 'for'} {as_duration(passed)}"))
    if prospect.eta_seconds is not None:
        parts.append(Content.styled(f"ETA {as_duration(prospect.eta_seconds)}" + ("" if prospect.is_whole else " (this step)"), "bold"))
    return Content("  ").join(parts)


def elapsed(state: RunState, now: float) -> float | None:
    """Seconds since the run was asked for, until now or its end."""
    if state.requested_at is None:
        return None
    until = (state.last_at or now) if state.has_ending else now
    return max(until - state.requested_at, 0.0)


def outcome(state: RunState) -> Content:
    """Why it ended as it did and the way on; empty while it runs, where all went well, and where a step says it."""
    if not state.problem or any(step.status == "failed" for step in state.steps.values()):
        return Content("")
    said = [Content.styled(f"{state.status}: {harmless_line(state.problem)}", "$error" if state.status == "failed" else "$warning")]
    if state.hint:
        said.append(Content(f"  {harmless_line(state.hint)}"))
    return Content("\n").join(said)


class RunHeader(Static):
    """Repainted only where its words have changed."""

    def __init__(self, is_one_line: bool = False, **kwargs) -> None:
        super().__init__("", markup=False, **kwargs)
        self._is_one_line = is_one_line
        self._told = ""

    def tell(self, content: Content) -> None:
        if content.markup != self._told:
            self._told = content.markup
            self.update(content, layout=not self._is_one_line)
            self.set_class(not content, "-empty")
