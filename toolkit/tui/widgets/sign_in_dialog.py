"""Signing in to Azure: every source as it is tried, then the code that a person types on any device with a browser."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from toolkit.core.cloud import Account, SignInStep
from toolkit.core.workbench import Workbench
from toolkit.errors import SignInError, ToolkitError
from toolkit.tui.harmless import harmless_line
from toolkit.tui.widgets.big_text import big
from toolkit.tui.widgets.dialogs import COPIED

ROOM = 70
"""Columns inside of the dialog."""
EXPIRED = "It has expired; r gets another."


class SignInDialog(ModalScreen[Account | None]):
    """Answers who is signed in; None where the person thought better of it. The sign-in goes on in a thread until it is left."""

    BINDINGS = [
        Binding("y", "copy('code')", "Copy code"),
        Binding("u", "copy('url')", "Copy address"),
        Binding("r", "again", "Again"),
        Binding("escape", "leave", "Cancel"),
    ]
    DEFAULT_CSS = """
    SignInDialog > Vertical { width: 76; }
    SignInDialog.-short > Vertical { padding: 0 2; max-height: 100%; }
    SignInDialog #tried { margin-bottom: 1; }
    SignInDialog.-code #tried { text-wrap: nowrap; text-overflow: ellipsis; }
    SignInDialog #where { text-style: bold; }
    SignInDialog #code { margin: 1 0; color: $primary; }
    SignInDialog #code, SignInDialog #where, SignInDialog #plain { display: none; }
    SignInDialog.-code #code, SignInDialog.-code #where, SignInDialog.-code #plain { display: block; }
    SignInDialog #problem { color: $error; text-style: bold; margin-bottom: 1; display: none; }
    SignInDialog.-failed #problem { display: block; }
    SignInDialog .keys { margin-top: 1; margin-bottom: 0; }
    """

    @dataclass
    class Told(Message):
        """The sign-in came one step on. From its thread."""

        step: SignInStep
        attempt: int

    def __init__(self, bench: Workbench, tenant: str = "") -> None:
        super().__init__(classes="dialog")
        self._bench, self._tenant = bench, tenant
        self._tried: dict[str, SignInStep] = {}
        self._code: SignInStep | None = None
        self._is_over = False
        self._attempt = 0
        """The one that counts; a thread of an earlier one leaves as soon as it looks up."""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Sign in to Azure", markup=False, classes="question")
            yield Static("", markup=False, id="tried")
            yield Static("", markup=False, id="where")
            yield Static("", markup=False, id="code")
            yield Static("", markup=False, id="plain")
            yield Static("", markup=False, id="problem")
            yield Static("", markup=False, classes="keys")

    def on_mount(self) -> None:
        self.action_again()
        self.set_interval(1.0, self._draw)

    def on_unmount(self) -> None:
        self._attempt += 1  # nobody waits for it any more

    @work(thread=True, exclusive=True, exit_on_error=False, group="sign-in")
    def _sign_in(self, attempt: int) -> Account:
        cloud = self._bench.cloud()
        tell, leave = (lambda step: self.post_message(self.Told(step, attempt))), (lambda: attempt != self._attempt)
        return cloud.sign_in(tell, self._tenant, leave=leave)

    @on(Told)
    def tell(self, message: Told) -> None:
        step = message.step
        if message.attempt != self._attempt:
            return
        if step.state == "code":
            self._code = step
        else:
            self._tried[step.source] = step
        self._draw()

    @on(Worker.StateChanged)
    def over(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.SUCCESS and isinstance(event.worker.result, Account):
            if self.is_current:
                self.dismiss(event.worker.result)
        elif event.state is WorkerState.ERROR:
            self._is_over, self._code = True, None
            self.query_one("#problem", Static).update(self._told(event.worker.error))
            self._draw()

    def _told(self, error: BaseException | None) -> str:
        """The reasons of a sign-in stand above already."""
        lines = [error.message, error.hint] if isinstance(error, ToolkitError) else [f"{type(error).__name__}: {error}"]
        if isinstance(error, SignInError) and self._tried:
            lines[0] = "None of them signs in."
        return "\n".join(harmless_line(line) for line in lines if line)

    # -- what is seen -----------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        """What did not change is not drawn."""
        code = self._code
        left = int(code.expires - self._bench.clock()) if code else 0
        self.set_class(code is not None, "-code")
        self.set_class(self._is_over, "-failed")
        texts: dict[str, str | Content] = {"#tried": self._sources(), ".keys": self._keys()}
        if code:
            texts["#where"] = f"On any device open  {harmless_line(code.url)}  and type"
            texts["#code"] = big(harmless_line(code.code), ROOM)
            time_left = f"{left // 60}:{left % 60:02d} left" if left > 0 else EXPIRED
            texts["#plain"] = f"{harmless_line(code.code)}    {time_left}"
        for where, text in texts.items():
            widget = self.query_one(where, Static)
            if widget.content != text:
                widget.update(text)
        self.refresh_bindings()

    def _sources(self) -> Content:
        """The source that asks now is the rest of the dialog."""
        steps = [step for step in self._tried.values() if not (self._code and step.source == self._code.source)]
        width = max((len(step.source) for step in steps), default=0)
        return Content("\n").join(_tried(step, width, is_brief=self._code is not None) for step in steps)

    def _keys(self) -> str:
        if self._is_over:
            return "r: try again    Esc: close"
        if self._is_expired:
            return "r: another code    Esc: cancel"
        return "y: copy the code    u: copy the address    Esc: cancel" if self._code else "Esc: cancel"

    # -- keys -------------------------------------------------------------------------------------------------------

    def action_copy(self, what: str) -> None:
        if self._code:
            self.app.copy_to_clipboard(getattr(self._code, what))
            self.notify(COPIED, markup=False)

    def action_again(self) -> None:
        """Where it failed; also where the code has expired, which its thread may not have noticed yet."""
        self._tried, self._code, self._is_over = {}, None, False
        self._attempt += 1
        self._draw()
        self._sign_in(self._attempt)

    def action_leave(self) -> None:
        self._attempt += 1
        self.dismiss(None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "copy":
            return True if self._code else None
        return None if action == "again" and not (self._is_over or self._is_expired) else True

    @property
    def _is_expired(self) -> bool:
        return self._code is not None and self._code.expires <= self._bench.clock()


def _tried(step: SignInStep, width: int, is_brief: bool) -> Content:
    """In a line beside a code, which is what matters then; else the whole reason below its source."""
    if step.state == "failed":
        gap = " " * (width - len(step.source) + 2) if is_brief else "\n    "
        return Content(f"{harmless_line(step.source)}{gap}{harmless_line(step.why)}")
    word, colour = {"trying": ("...", "$accent"), "signed_in": ("signed in", "$success")}.get(step.state, ("", ""))
    return Content.assemble(f"{harmless_line(step.source)}  ", (word, colour))
