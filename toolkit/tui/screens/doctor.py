"""Doctor: what this machine lacks, one finding a line as they come, the chosen one with its fix, and a report to send on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.getters import query_one
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from toolkit.core.doctor import CHECKS, Check, counted, examine, report
from toolkit.core.files import write_text
from toolkit.core.finding import Finding
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.harmless import harmless, harmless_line
from toolkit.tui.messages import ShowPlace
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.widgets.dialogs import AskText, Confirm

LOOKING = "looking"
COLOURS = {"problem": "bold $error", "warning": "bold $warning", "ok": "$success", LOOKING: "$text-muted"}


@dataclass
class FindingCame(Message):
    finding: Finding


class DoctorScreen(EdgeScreen):
    place = "doctor"
    CSS_PATH = "doctor.tcss"
    BINDINGS = [
        Binding("r", "again", "Look again"),
        Binding("y", "copy", "Copy report"),
        Binding("w", "write", "Write report"),
        Binding("escape", "leave", "Back", show=False),
    ]
    list = query_one(OptionList)

    def __init__(self, bench: Workbench, checks: Sequence[Check] = CHECKS) -> None:
        super().__init__(bench)
        self._checks = checks
        self._findings: dict[str, Finding] = {}

    def body(self) -> Iterable[Widget]:
        yield Static("", markup=False, id="summary")
        yield OptionList(*(Option(_line(check.subject, None), id=check.subject) for check in self._checks))
        yield Static("", markup=False, id="finding")

    def on_mount(self) -> None:
        self.list.highlighted = 0
        self.list.focus()
        self.action_again()

    @property
    def findings(self) -> Sequence[Finding]:
        """What is known so far, in the order of the checks."""
        return [self._findings[check.subject] for check in self._checks if check.subject in self._findings]

    # -- looking ------------------------------------------------------------------------------------------------------

    def action_again(self) -> None:
        """Look at everything again."""
        self._findings = {}
        for check in self._checks:
            self.list.replace_option_prompt(check.subject, _line(check.subject, None))
        self._tell()
        self._examine()

    @work(thread=True, exclusive=True, exit_on_error=False, group="doctor")
    def _examine(self) -> None:
        worker = get_current_worker()
        for finding in examine(self.bench, self._checks, leave=lambda: worker.is_cancelled):
            if worker.is_cancelled:
                return
            self.post_message(FindingCame(finding))

    @on(FindingCame)
    def show_finding(self, message: FindingCame) -> None:
        finding = message.finding
        self._findings[finding.subject] = finding
        self.list.replace_option_prompt(finding.subject, _line(finding.subject, finding))
        self._tell()

    @on(OptionList.OptionHighlighted)
    def _tell(self) -> None:
        """The summary, and the chosen finding in full."""
        lacking = len(self._checks) - len(self._findings)
        said = f"looking, {lacking} to come" if lacking else counted(self.findings)
        _say(self.query_one("#summary", Static), f"This machine: {said}")
        place = self.list.highlighted
        subject = self._checks[place].subject if place is not None else ""
        _say(self.query_one("#finding", Static), _whole(subject, self._findings.get(subject)))

    # -- the report ---------------------------------------------------------------------------------------------------

    @property
    def report(self) -> str:
        return report(self.findings, self.bench.clock())

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.report)
        self.notify("Copied the report, if this terminal lets programs copy; w writes it to a file.")

    @work(exit_on_error=False, group="ask")
    async def action_write(self) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self.bench.clock()))
        default = str(self.bench.settings.home / f"doctor-{stamp}.txt")
        answer = await self.app.push_screen_wait(AskText("Write the report to which file?", default))
        if not answer:
            return
        path = Path(answer).expanduser().absolute()
        if path.exists() and not await self.app.push_screen_wait(Confirm(f"{path} is there already. Overwrite it?", yes="Overwrite")):
            return
        self._write(path, self.report)

    @work(thread=True, exit_on_error=False, group="write")
    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
        except OSError as exc:
            raise ToolkitError(f"{path} cannot be written: {exc.strerror or exc}.", "Choose another place with w.") from exc
        self.app.call_from_thread(self._written, path)

    def _written(self, path: Path) -> None:
        self.clear_problem()
        self.notify(f"Wrote {path}", markup=False)

    def action_leave(self) -> None:
        self.post_message(ShowPlace("home"))


def _line(subject: str, finding: Finding | None) -> Content:
    level = finding.level if finding else LOOKING
    seen = harmless_line(finding.seen) if finding else ""
    return Content.assemble((f"{level:<8}", COLOURS[level]), (f" {subject:<18}", "bold"), Content(seen)).truncate(400)


def _whole(subject: str, finding: Finding | None) -> str:
    if finding is None:
        return f"{subject}: looking ..." if subject else ""
    fix = f"\n\nFix: {harmless(finding.fix)}" if finding.fix else ""
    return f"{finding.subject}: {finding.level}\n\n{harmless(finding.seen)}{fix}"


def _say(widget: Static, text: str) -> None:
    if str(widget.content) != text:
        widget.update(text)
