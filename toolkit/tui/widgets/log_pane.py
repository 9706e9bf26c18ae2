"""A log, live: follow, search, filter, copy, save. Reading is done in threads; only lines on the screen are drawn."""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from textual import getters, on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static
from textual.worker import Worker, get_current_worker

from toolkit.core import logfile
from toolkit.core.files import as_size
from toolkit.core.logfile import LogFile
from toolkit.core.logsearch import Filtered, Pattern, search
from toolkit.errors import ToolkitError
from toolkit.tui.widgets.dialogs import AskText
from toolkit.tui.widgets.line_view import LineView

HINT = "(f follow  v mark  y copy  w save)"
FILTERED_HINT = "(Esc all lines  y copy  w save)"
NOTHING_YET = "nothing in it yet"
COPIED = 512 * 1024
"""Characters that are copied at most; terminals refuse more."""


class Prompt(Input):
    """One line to type a search or a filter; Escape leaves it as it was."""

    BINDINGS = [Binding("escape", "cancel", "Cancel")]

    class Cancelled(Message):
        pass

    def action_cancel(self) -> None:
        self.post_message(self.Cancelled())


class LogPane(Vertical):
    """Opens one file at a time."""

    BINDINGS = [
        Binding("slash", "ask('search')", "Search", key_display="/"),
        Binding("n", "again(False)", "Next match", show=False),
        Binding("N", "again(True)", "Match before", show=False),
        Binding("ampersand", "ask('filter')", "Filter", key_display="&"),
        Binding("y", "copy", "Copy lines", show=False),
        Binding("w", "save", "Save to a file", show=False),
        Binding("escape", "clear", "Clear filter and search", show=False),
    ]
    view = getters.query_one(LineView)
    prompt = getters.query_one(Prompt)

    class Grown(Message):
        """There is more to show, or something else."""

    @dataclass
    class Found(Message):
        line: int | None
        pattern: Pattern

    @dataclass
    class Copied(Message):
        text: str
        lines: int

    @dataclass
    class Saved(Message):
        path: Path
        bytes: int

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.log_file = LogFile(Path())
        self.label = ""
        self.empty_text = NOTHING_YET
        """What is said of a log without lines."""
        self.filtered: Filtered | None = None
        self._asked = ""
        self._said = ""

    def compose(self) -> ComposeResult:
        yield LineView(self.log_file)
        yield Static("", markup=False, classes="log-status")
        yield Prompt("", compact=True, classes="log-prompt")

    def on_mount(self) -> None:
        self.prompt.cursor_blink = False
        self.prompt.display = False

    def open(self, path: Path, label: str) -> None:
        """Show this file from now on, at its end."""
        if path == self.log_file.path:
            return
        self.log_file, self.label, self.filtered = LogFile(path), label, None
        self.view.lines, self.view.numbers, self.view.pattern = self.log_file, None, None
        self.view.is_following = True
        self._said = ""
        self.view.show_all_anew()
        self.go_on()

    def go_on(self) -> None:
        """Keep up with the file, until `pause`."""
        if self.label:
            self._keep_up(self.log_file)

    def pause(self) -> None:
        self.workers.cancel_node(self)

    @work(thread=True, exclusive=True, exit_on_error=False, group="log")
    def _keep_up(self, log: LogFile) -> None:
        worker, app = get_current_worker(), self.app
        while not worker.is_cancelled:
            frame = 2 * app.pace.frame_seconds  # a pane full of text is the most that moves
            if self._take_in(log, time.monotonic() + frame, worker):
                self.post_message(self.Grown())
            self._wait(worker, frame)

    @staticmethod
    def _wait(worker: Worker, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not worker.is_cancelled and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _take_in(self, log: LogFile, deadline: float, worker: Worker) -> bool:
        """Read what is new, for one frame at most; True where there was something."""
        filtered = self.filtered
        before = log.size, log.generation, len(filtered.numbers) if filtered else 0
        while log.grow() | (filtered.grow() if filtered else False):
            if _gives_way(worker) or time.monotonic() > deadline:
                return True
        return before != (log.size, log.generation, len(filtered.numbers) if filtered else 0)

    @on(Grown)
    def _show_growth(self) -> None:
        self.view.numbers = self.filtered.numbers if self.filtered else None
        self.view.renew()
        self._tell()

    @on(LineView.Moved)
    def _tell(self) -> None:
        """The line under the log: what is shown, and what was done last."""
        view, lines = self.view, len(self.log_file)
        told = [self.label, f"{lines:,} lines" if lines else self.empty_text]
        if self.filtered:
            told[1] = f"{len(self.filtered.numbers):,} of {lines:,} lines with & {self.filtered.pattern.text}"
        told.append(f"{len(view.marked):,} marked" if view.anchor is not None else "following" if view.is_following else "not following")
        told.append(self._said or (FILTERED_HINT if self.filtered else HINT))
        text = "  ".join(filter(None, told))
        status = self.query_one(".log-status", Static)
        if str(status.content) != text:
            status.update(text, layout=False)

    def _say(self, text: str) -> None:
        self._said = text
        self._tell()

    def action_ask(self, what: str) -> None:
        """Open the line for a search or a filter."""
        self._asked = what
        self.prompt.placeholder = f"{what}: text, !text for lines without it; empty: none"
        pattern = (self.filtered and self.filtered.pattern) if what == "filter" else self.view.pattern
        self.prompt.value = pattern.text if pattern else ""
        self.prompt.display = True
        self.prompt.focus()

    @on(Prompt.Cancelled)
    def _close_prompt(self) -> None:
        self.prompt.display = False
        self.view.focus()

    @on(Prompt.Submitted)
    def _asked_for(self, event: Prompt.Submitted) -> None:
        event.stop()
        self._close_prompt()
        if self._asked == "filter":
            self._filter_by(event.value)
            return
        self.view.pattern = Pattern(event.value) if event.value else None
        self.view.here = None
        self.view.refresh()
        self._say("")
        self.action_again(False)

    def _filter_by(self, text: str) -> None:
        self.filtered = Filtered(self.log_file, Pattern(text)) if text else None
        self.view.numbers = self.filtered.numbers if self.filtered else None
        self.view.show_all_anew()
        self._say("")

    def action_clear(self) -> None:
        """Out of the filter, or of the search."""
        if self.filtered:
            self._filter_by("")
            return
        self.view.pattern = self.view.here = None
        self.view.refresh()
        self._say("")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self.filtered or self.view.pattern) if action == "clear" else True  # else Escape is the screen's

    def action_again(self, is_back: bool) -> None:
        """To the next line that fits, or the one before."""
        view = self.view
        if view.pattern is None:
            return
        row = view.here if view.here is not None else view.scroll_offset.y - (not is_back)
        self._search(view.pattern, view.number_at(row) if row >= 0 else -1, is_back)

    @work(thread=True, exclusive=True, exit_on_error=False, group="log-search")
    def _search(self, pattern: Pattern, start: int, is_back: bool) -> None:
        worker = get_current_worker()
        within = self.filtered.pattern if self.filtered else None
        line = search(self.log_file, pattern, start, is_back, within, lambda: _gives_way(worker))
        if not worker.is_cancelled:
            self.post_message(self.Found(line, pattern))

    @on(Found)
    def _show_found(self, event: Found) -> None:
        if event.pattern is not self.view.pattern:
            return
        if event.line is None:
            return self._say(f"no line has '{event.pattern.text}'")
        row = bisect_left(self.filtered.numbers, event.line) if self.filtered else event.line
        self.view.go_to(row)
        return self._say(f"line {event.line + 1:,}: n next, N before")

    def action_copy(self) -> None:
        """Copy what is marked, else what is on the screen."""
        self._copy([self.view.number_at(row) for row in self.view.marked[:COPIED]])

    @work(thread=True, exclusive=True, exit_on_error=False, group="log-copy")
    def _copy(self, numbers: list[int]) -> None:
        lines, room = [], COPIED
        for number in numbers:
            line = self.view.lines.whole(number)
            room -= len(line) + 1
            if room < 0:
                break
            lines.append(line)
        self.post_message(self.Copied("\n".join(lines), len(lines)))

    @on(Copied)
    def _to_clipboard(self, event: Copied) -> None:
        self.app.copy_to_clipboard(event.text)
        self.view.anchor = None
        self.view.refresh()
        self._say(f"copied {event.lines:,} lines, {as_size(len(event.text))}")

    def action_save(self) -> None:
        """Ask where to, then write all lines there, or those that the filter lets through."""
        name = f"{self.log_file.path.parent.name}-{self.log_file.path.name}"
        what = "the lines that fit the filter" if self.filtered else "the whole log"
        question = AskText(f"Save {what} to", str(Path.cwd() / name), "A file that is there already is not written over.")
        self.app.push_screen(question, lambda target: self._save(Path(target).expanduser()) if target else None)

    @work(thread=True, exclusive=True, exit_on_error=False, group="log-save")
    def _save(self, target: Path) -> None:
        try:
            written = logfile.save(self.log_file, target, list(self.filtered.numbers) if self.filtered else None)
        except OSError as exc:
            raise ToolkitError(f"{target} was not written: {exc.strerror or exc}.", "Press w and choose another file.") from exc
        self.post_message(self.Saved(target, written))

    @on(Saved)
    def _tell_saved(self, event: Saved) -> None:
        self._say(f"saved {as_size(event.bytes)} to {event.path}")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What went wrong here is told where problems are told."""
        if event.worker.error is not None:
            self.screen.post_message(Worker.StateChanged(event.worker, event.state))


def _gives_way(worker: Worker) -> bool:
    """True where the work should end; else lets the screen have the interpreter for a moment."""
    time.sleep(0.001)
    return worker.is_cancelled
