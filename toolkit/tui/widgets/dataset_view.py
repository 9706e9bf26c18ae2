"""What the data of each adapter holds: first records, how long the rows are, problems by line."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from toolkit.core.dataset import DatasetReport, PartReport, Row, TokenLengths
from toolkit.core.preview import Preview
from toolkit.errors import ToolkitError

CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")
"""Data may hold terminal codes; none is drawn."""
BAR = 30
MUTED = "$foreground 60%"
RECORD = 400
"""Characters of a field that are shown."""


class DatasetView(VerticalScroll):
    """Told a Preview, or that one is under way."""

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, id="data-text")

    def say(self, text: str) -> None:
        self._put(Content(text))

    def show(self, seen: Preview) -> None:
        parts = [part for name, report in seen.data.items() for part in (*_adapter(name, report), Content(""))]
        notes = [Content.styled(f"note: {note}", MUTED) for note in seen.notes]
        self._put(Content("\n").join([*_wrongs(seen), *notes, *parts]))

    def _put(self, content: Content) -> None:
        text = self.query_one("#data-text", Static)
        if text.content != content:
            text.update(content)


def _wrongs(seen: Preview) -> Iterator[Content]:
    problems = [
        problem for report in seen.data.values() if isinstance(report, DatasetReport) for problem in (*report.fatal, *report.warnings)
    ]
    for error in seen.problems:
        yield Content.styled(f"error: {error.message} {error.hint}".translate(CONTROLS), "$text-error")
    for problem in problems:
        word, colour = ("error", "$text-error") if problem.is_fatal else ("warning", "$text-warning")
        yield Content.styled(f"{word}: {problem.path.name}:{problem.line}: {problem.message} {problem.remedy}".translate(CONTROLS), colour)
    if problems or seen.problems:
        yield Content("")
        return
    yield Content.styled("No broken, empty, over-long or repeated rows.", "$text-success")
    yield Content("")


def _adapter(name: str, report: DatasetReport | ToolkitError) -> Iterator[Content]:
    if isinstance(report, ToolkitError):
        yield Content.styled(f"── {name}: cannot be read", "bold")
        return
    for part in report.parts:
        yield from _part(name, part)


def _part(name: str, part: PartReport) -> Iterator[Content]:
    files = ", ".join(path.name for path in part.paths)
    rows = "1 row" if part.rows == 1 else f"{part.rows:,} rows"
    yield Content.styled(f"── {name}, {part.name}: {rows}  ({files})", "bold")
    if part.tokens:
        yield from _histogram(part.tokens)
    for number, row in enumerate(part.first, 1):
        yield from _record(number, row)


def _record(number: int, row: Row) -> Iterator[Content]:
    yield Content.styled(f"record {number}", MUTED)
    for field, text in row.items():
        short = text if len(text) <= RECORD else f"{text[:RECORD]}... ({len(text):,} characters)"
        yield Content.assemble((f"  {field.translate(CONTROLS)}: ", "$text-accent"), short.translate(CONTROLS))


def _histogram(lengths: TokenLengths) -> Iterator[Content]:
    yield Content(f"tokens per row: {lengths.shortest} to {lengths.longest}, mean {lengths.mean:.1f}, {lengths.total:,} in all")
    most = max(rows for _, _, rows in lengths.bins)
    for start, end, rows in lengths.bins:
        bar = "█" * max(round(BAR * rows / most), 1 if rows else 0)
        yield Content.assemble(f"{start:>6}-{end:<6}", (f"{bar:<{BAR}}", "$primary"), f" {rows:,}")
