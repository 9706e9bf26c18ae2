"""What a run will have to do: each step with where it comes from and how long it took before, disk, warnings."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from toolkit.core.files import as_duration, as_size
from toolkit.core.forecast import CACHED, RUNS, STATES, Forecast, StepForecast
from toolkit.core.kv_budget import MemoryFit
from toolkit.core.preview import Preview
from toolkit.tui.widgets.dataset_view import CONTROLS, MUTED

SIGNS = {CACHED: "=", RUNS: "►"}
COLOURS = {CACHED: "$text-success", RUNS: "$text-primary"}


class PlanView(VerticalScroll):
    """Told a Preview, or that one is under way."""

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, id="plan-text")

    def say(self, text: str) -> None:
        self._put(Content(text))

    def show(self, seen: Preview) -> None:
        lines = [*_problems(seen), *(_plan(seen.forecast) if seen.forecast else ()), *_remarks(seen)]
        self._put(Content("\n").join(lines))

    def _put(self, content: Content) -> None:
        text = self.query_one("#plan-text", Static)
        if text.content != content:
            text.update(content)


def _problems(seen: Preview) -> Iterator[Content]:
    for error in seen.problems:
        yield Content.styled(f"error: {error.message} {error.hint}".translate(CONTROLS), "$text-error")
    rest = seen.fatal - len(seen.problems)
    if rest:
        yield Content.styled(
            f"error: the data has {rest} problem{'s' if rest > 1 else ''} that must be solved first; see Data.", "$text-error"
        )
    if seen.fatal:
        yield Content("")


def _plan(ahead: Forecast) -> Iterator[Content]:
    width = max(len(step.name) for step in ahead.steps)
    yield Content.styled(f"  {'step':<{width}}  {'plan':<12}  {'time':>11}", MUTED)
    yield from (_step(step, width) for step in ahead.steps)
    yield Content("")
    yield Content.assemble(("steps  ", MUTED), ahead.summary[:1].upper() + ahead.summary[1:] + ".")
    yield Content.assemble(("disk   ", MUTED), *_disk(ahead))
    yield from (Content.assemble(("memory ", MUTED), _memory(fit)) for fit in ahead.memory if fit.fits)
    yield from (Content.assemble(("note   ", MUTED), note.translate(CONTROLS)) for note in ahead.notes)
    yield Content("")
    for kind, about in _kinds(ahead).items():
        yield Content.assemble((f"{kind}: ", "bold"), about)


def _kinds(ahead: Forecast) -> dict[str, str]:
    """What the kinds of steps do, each once."""
    return {step.kind: step.about for step in ahead.steps if step.about}


def _step(step: StepForecast, width: int) -> Content:
    time = "" if step.state == CACHED else as_duration(step.seconds) if step.seconds is not None else "?"
    basis = "" if step.state == CACHED else f"  {step.basis.removeprefix('as before, ')}"
    colour = COLOURS.get(step.state, "$text-warning")
    sign = SIGNS.get(step.state, "?")
    return Content.assemble(
        (f"{sign} ", colour), f"{step.name:<{width}}  ", (f"{STATES[step.state]:<12}", colour), f"  {time:>11}", (basis, MUTED)
    )


def _disk(ahead: Forecast) -> Iterator[str | tuple[str, str]]:
    free = f"{as_size(ahead.free_bytes)} are free."
    if ahead.needed_bytes is None:
        yield f"What is needed is known once the model is here. {free}"
        return
    yield f"About {as_size(ahead.needed_bytes)} needed at most; {free}"
    if ahead.needed_bytes > ahead.free_bytes:
        yield (" That is too little.", "$text-error")


def _memory(fit: MemoryFit) -> Content:
    return Content.styled(fit.sentence.translate(CONTROLS), "" if fit.is_whole else "$text-warning")


def _remarks(seen: Preview) -> Iterator[Content]:
    yield Content("")
    for note in seen.notes:
        yield Content.styled(f"note: {note}".translate(CONTROLS), MUTED)
    if seen.warnings:
        yield Content.styled(f"{len(seen.warnings)} warnings of the data; see Data.", "$text-warning")
