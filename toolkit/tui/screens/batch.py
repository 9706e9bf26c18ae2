"""A prompt file asked of the models of the chat: progress, the answers as they come, and what each model came to."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text
from textual import getters, on, work
from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static
from textual.worker import get_current_worker

from toolkit.core.batch import Model, Prompt, Result, Summary, as_lines, as_table, ask_all, read_prompts, summaries
from toolkit.core.chat import Conversation, Sampling
from toolkit.core.transcript import save
from toolkit.core.workbench import Workbench
from toolkit.errors import DataError
from toolkit.tui.harmless import harmless_line
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.widgets.dialogs import AskText

BAR = 30


class AskPrompts(AskText):
    """A file of prompts; stays open, with what was typed, until there is one."""

    def __init__(self) -> None:
        note = "One prompt a line (.txt), or JSON objects with `prompt` (.jsonl)."
        super().__init__("Ask the prompts of which file?", note=note)

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        event.prevent_default()  # a plain question would end with whatever was typed
        try:
            if event.value.strip():
                read_prompts(Path(event.value).expanduser())
        except DataError as exc:
            self.query_one(".consequence", Static).update(f"! {exc.message}")
            return
        self.dismiss(event.value.strip())


class BatchScreen(EdgeScreen):
    """Runs from when it is opened; Escape ends it and goes back. Its results are written at its end, however it ends."""

    place = "chat"
    CSS_PATH = "batch.tcss"
    BINDINGS = [
        Binding("escape", "leave", "Stop and go back"),
        Binding("escape", "go_back", "Back", key_display="Esc"),
        Binding("y", "copy", "Copy"),
    ]
    table = getters.query_one(DataTable)

    def __init__(self, bench: Workbench, prompts: Sequence[Prompt], models: Sequence[Model], sampling: Sampling, place: Path) -> None:
        super().__init__(bench)
        self._prompts, self._models, self._sampling, self._place = prompts, models, sampling, place
        self._inbox: deque[Result] = deque()
        self._results: list[Result] = []
        self._asking: Conversation | None = None
        self._is_over = False

    def body(self) -> Sequence[Widget]:
        return Static("", id="progress", markup=False), DataTable(cursor_type="row"), Static("", id="answer", markup=False)

    def on_mount(self) -> None:
        self.table.add_columns("line", "model", "tokens", "tok/s", "prompt", "answer")
        self.table.focus()
        self._frames = self.set_interval(self.pace.frame_seconds, self._show_new)
        self._show_progress()
        self._ask_all()

    @work(thread=True, exclusive=True, exit_on_error=False, group="batch")
    def _ask_all(self) -> None:
        worker, results = get_current_worker(), []
        try:
            for result in ask_all(self._prompts, self._models, self._sampling, self._watch, lambda: worker.is_cancelled):
                results.append(result)
                self._inbox.append(result)
        finally:
            if results:
                save(self._place, as_lines(results))

    def _watch(self, conversation: Conversation) -> None:
        self._asking = conversation

    def on_worker_state_changed(self, event) -> None:
        super().on_worker_state_changed(event)
        if event.worker.group == "batch" and event.worker.is_finished:
            self._show_new()
            self._frames.stop()
            self._is_over = True
            self._show_summaries()
            self.refresh_bindings()

    def _show_new(self) -> None:
        if not self._inbox:
            return
        while self._inbox:
            result = self._inbox.popleft()
            self._results.append(result)
            self.table.add_row(*_cells(result))
        self._show_progress()

    def _show_progress(self) -> None:
        done, total = len(self._results), len(self._prompts) * len(self._models)
        filled = BAR * done // total
        self.query_one("#progress", Static).update(f"{'█' * filled}{'░' * (BAR - filled)} {done} of {total} answers")

    def _show_summaries(self) -> None:
        lines = [_summary(summary) for summary in summaries(self._results)]
        where = f"Written to {self._place}" if self._results else "Nothing was answered."
        self.query_one("#progress", Static).update("\n".join([f"{len(self._results)} answers. {where}", *lines]))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.cursor_row < len(self._results):
            result = self._results[event.cursor_row]
            told = result.problem or result.answer
            self.query_one("#answer", Static).update(f"> {harmless_line(result.prompt)}\n{harmless_line(told)}")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("leave", "go_back"):
            return self._is_over == (action == "go_back")
        return True

    def action_copy(self) -> None:
        """All rows, for a spreadsheet."""
        self.app.copy_to_clipboard(as_table(self._results))
        self.notify("Copied, if this terminal lets programs copy; the answers are written to a file too.")

    def action_go_back(self) -> None:
        self.action_leave()

    def action_leave(self) -> None:
        if self._asking is not None:
            self._asking.stop()
        self.workers.cancel_group(self, "batch")
        self.app.pop_screen()


def _cells(result: Result) -> tuple[str | Text, ...]:
    figures = result.figures
    numbers = (str(figures.tokens), f"{figures.tokens_per_second:.1f}") if figures else ("-", "-")
    answer = f"! {result.problem}" if result.problem else result.answer
    return (str(result.line), Text(result.model), *numbers, _short(result.prompt), _short(answer))


def _short(text: str) -> Text:
    return Text(harmless_line(text)[:80])


def _summary(summary: Summary) -> str:
    refused = f", {summary.problems} refused" if summary.problems else ""
    figures = f"first token {summary.first_token_ms:.0f} ms, {summary.tokens_per_second:.1f} tokens/s"
    return f"{summary.model}: {summary.answers} answers{refused}, {summary.tokens} tokens, {figures}"
