"""What every screen has: the top line, a place for problems, the footer, and background work that tells its failures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.messages import ShowPlace
from toolkit.tui.widgets.key_bar import KeyBar
from toolkit.tui.widgets.nav_bar import NavBar
from toolkit.tui.widgets.problem_bar import ProblemBar

if TYPE_CHECKING:
    from toolkit.tui.pace import Pace


class EdgeScreen(Screen[None]):
    """Subclasses say `place`, and yield their widgets in `body`."""

    place = ""
    """Name of the place in the top line that this screen belongs to."""
    problem_bar = getters.query_one(ProblemBar)

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self.bench = bench

    def compose(self) -> ComposeResult:
        yield NavBar(self.place)
        yield ProblemBar()
        yield from self.body()
        yield KeyBar()

    def body(self) -> Iterable[Widget]:
        return ()

    @property
    def pace(self) -> Pace:
        """How often this screen may change, as of now."""
        return self.app.pace

    def unsaved(self) -> str:
        """What would be lost by quitting now, as a sentence; empty: nothing."""
        return ""

    def way_back(self) -> tuple[Message, ...]:
        """Requests that lead here again from another place."""
        return (ShowPlace(self.place),)

    def tell_problem(self, problem: ToolkitError | str) -> None:
        """Show what is wrong and the way out, until `clear_problem`."""
        self.problem_bar.tell(problem)

    def clear_problem(self) -> None:
        self.problem_bar.clear()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A worker that failed is told, never swallowed; the app lives on."""
        error = event.worker.error
        if event.state is not WorkerState.ERROR or error is None:
            return
        if isinstance(error, ToolkitError):
            self.tell_problem(error)
            return
        self.log.error(error)
        self.tell_problem(f"{type(error).__name__}: {error}")
