"""Choosing where to publish to: workspaces and registries that the account sees, fewer with every letter typed."""

from __future__ import annotations

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState

from toolkit.core.cloud import CloudRegistry, Targets, Workspace
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.harmless import harmless_line

Target = Workspace | CloudRegistry
ASKING = "Asking Azure ..."


class TargetDialog(ModalScreen[Target | None]):
    """Answers a workspace or a registry; None: thought better of it."""

    BINDINGS = [
        Binding("escape", "leave", "Cancel"),
        Binding("down", "move(1)", "Next", show=False),
        Binding("up", "move(-1)", "Before", show=False),
    ]
    DEFAULT_CSS = """
    TargetDialog > Vertical { width: 96; }
    TargetDialog OptionList { height: auto; max-height: 12; margin: 1 0; text-wrap: nowrap; text-overflow: ellipsis; }
    TargetDialog OptionList > .option-list--option-disabled { color: $foreground; text-style: bold; }
    TargetDialog #problems { color: $warning; max-height: 4; }
    TargetDialog .keys { margin-bottom: 0; }
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__(classes="dialog")
        self._bench = bench
        self._targets = Targets()
        self._shown: list[Target | None] = []
        """As the list has them; None: a heading."""
        self._is_asking = True

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Publish to which workspace or registry?", markup=False, classes="question")
            yield Input(placeholder="type to filter")
            yield OptionList(markup=False)
            yield Static(ASKING, markup=False, id="problems")
            yield Static("↑ ↓: choose    Enter: take it    Esc: cancel", markup=False, classes="keys")

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self._ask()

    @work(thread=True, exclusive=True, exit_on_error=False, group="targets")
    def _ask(self) -> Targets:
        return self._bench.cloud().targets()

    @on(Worker.StateChanged)
    def asked(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.SUCCESS and isinstance(event.worker.result, Targets):
            self._targets, self._is_asking = event.worker.result, False
            self._offer()
        elif event.state is WorkerState.ERROR:
            self._is_asking = False
            self._tell(_told(event.worker.error))

    @on(Input.Changed)
    def _offer(self) -> None:
        """Headings stay only over something."""
        words = self.query_one(Input).value.lower().split()
        names = {subscription.id: subscription.name for subscription in self._targets.subscriptions}
        names = names if len(names) != 1 else dict.fromkeys(names, "")  # it would say the same in every line
        found: list[Option] = []
        self._shown = []
        for heading, targets in (("Workspaces", self._targets.workspaces), ("Registries", self._targets.registries)):
            rows = [(target, _cells(target, names)) for target in targets]
            rows = [(target, cells) for target, cells in rows if all(word in " ".join(cells).lower() for word in words)]
            if rows:
                found.append(Option(Content.styled(heading, "bold"), disabled=True))
                found += [Option(line) for line in _aligned([cells for _, cells in rows])]
                self._shown += [None, *(target for target, _ in rows)]
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(found)
        listed.highlighted = 1 if found else None
        if not self._is_asking:
            nothing = "Nothing fits." if words else "This account sees no workspace and no registry."
            self._tell("\n".join(harmless_line(line) for line in self._targets.problems) if found else nothing)

    def _tell(self, text: str) -> None:
        problems = self.query_one("#problems", Static)
        problems.update(text)
        problems.display = bool(text)

    def action_move(self, by: int) -> None:
        listed = self.query_one(OptionList)
        if by > 0:
            listed.action_cursor_down()
        else:
            listed.action_cursor_up()

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def take(self, event: Input.Submitted | OptionList.OptionSelected) -> None:
        place = event.option_index if isinstance(event, OptionList.OptionSelected) else self.query_one(OptionList).highlighted
        chosen = self._shown[place] if place is not None and place < len(self._shown) else None
        if chosen:
            self.dismiss(chosen)

    def action_leave(self) -> None:
        self.dismiss(None)


def _cells(target: Target, subscriptions: dict[str, str]) -> tuple[str, ...]:
    """Name, group, place, the registry attached, and the subscription as people call it."""
    subscription = subscriptions.get(target.subscription, target.subscription)
    if isinstance(target, Workspace):
        attached = f"with {target.registry}" if target.registry else "no registry"
        return tuple(map(harmless_line, (target.name, target.group, target.location, attached, subscription)))
    return tuple(map(harmless_line, (target.login_server, target.group, target.location, "", subscription)))


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True) if width]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _told(error: BaseException | None) -> str:
    lines = [error.message, error.hint] if isinstance(error, ToolkitError) else [f"{type(error).__name__}: {error}"]
    return "\n".join(harmless_line(line) for line in lines if line)
