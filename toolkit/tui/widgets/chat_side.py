"""One side of a chat: who answers, from which very image, under which limits, and what was said."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from textual import getters
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from toolkit.core.chat import Conversation, Finished, Turn
from toolkit.core.chatroom import Seat, Wanted
from toolkit.core.stock import Stock
from toolkit.core.targets import ChatTarget
from toolkit.core.transcript import Talk, figures
from toolkit.errors import ToolkitError
from toolkit.tui.harmless import harmless_line
from toolkit.tui.widgets.chat_log import ChatLog
from toolkit.tui.widgets.chat_models import ModelList


@dataclass(frozen=True)
class Failed:
    """A start or an answer came to nothing."""

    problem: ToolkitError
    is_served: bool = False
    """True where the server lives on, and only this question did not go."""


EMPTY, STARTING, READY, ANSWERING, ENDED = "no model", "starting...", "ready", "answering", "ended"


class ChatSide(Vertical):
    """Is told what happens; `inbox` is where the thread that listens to the model puts its words."""

    BINDINGS = [
        Binding("i", "screen.write", "Write"),
        Binding("y", "screen.copy_answer", "Copy"),
        Binding("Y", "screen.copy_chat", "Copy all"),
        Binding("s", "screen.save", "Save"),
        Binding("r,ctrl+r", "screen.regenerate", "Again", show=False),
        Binding("e,ctrl+l", "screen.edit", "Edit", show=False),
        Binding("d", "screen.side_by_side", "Side by side"),
        Binding("o,ctrl+o", "screen.choose_model", "Model", show=False),
        Binding("t", "screen.settings", "Settings"),
        Binding("b", "screen.batch", "Batch"),
        Binding("n,ctrl+n", "screen.new_conversation", "New", show=False),
    ]
    chat_log = getters.query_one(ChatLog)
    models = getters.query_one(ModelList)

    class Heard(Message):
        """There is something in the inbox that should not wait for the next frame."""

        def __init__(self, side: ChatSide) -> None:
            super().__init__()
            self.side = side

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.state = EMPTY
        self.wanted: Wanted | None = None
        self.target: ChatTarget | None = None
        self.seat: Seat | None = None
        self.conversation: Conversation | None = None
        self.kept_turns: list[Turn] = []
        """Of a server that ended, for the next one."""
        self.inbox: deque[str | Finished | ChatTarget | Seat | Failed] = deque()
        self.question = ""
        """The one being answered."""
        self.is_waiting = False
        """Asked, and no word of the answer yet: in the server's queue, or taking the question in."""
        self._taken_back: Turn | None = None
        """The turn in whose place the question is asked; it comes back where there is no answer."""

    def compose(self) -> ComposeResult:
        yield Static("", classes="who", markup=False)
        yield Static("", classes="what", markup=False)
        yield ModelList()
        yield ChatLog()

    def on_mount(self) -> None:
        self._show_state()

    # -- told by the screen -----------------------------------------------------------------------------------------

    def offer(self, known: Stock) -> None:
        """What there is to choose from, while nothing is chosen."""
        if self.state == EMPTY:
            self.models.show(known.items)
            said = "Choose a model, then Enter:" if known.items else "Nothing is packaged yet. Finish a run, then package it (3 Images)."
            if known.problem is not None:
                said = (
                    "Images show when the engine answers again; local folders:"
                    if known.items
                    else "Images show when the engine answers again."
                )
            self.query_one(".what", Static).update(said)

    def starts(self, wanted: Wanted) -> None:
        if self.conversation is not None:
            self.kept_turns = self.conversation.turns
        self.wanted, self.seat, self.conversation = wanted, None, None
        self._set_state(STARTING)

    def found(self, target: ChatTarget) -> None:
        self.target = target
        self._show_state()

    def seated(self, seat: Seat, system: str) -> None:
        self.seat, self.conversation = seat, seat.conversation(system)
        self.conversation.turns, self.kept_turns = self.kept_turns, []
        self._set_state(READY)

    def asks(self, question: str) -> None:
        self.question = question
        self.chat_log.add_question(question)
        self.is_waiting = True
        self._set_state(ANSWERING)

    def grow(self, text: str) -> None:
        """More of the answer under way."""
        self.chat_log.grow(text)
        if self.is_waiting:
            self.is_waiting = False
            self._show_state()

    def answered(self, finished: Finished) -> None:
        self.chat_log.add_figures(figures(finished))
        self._taken_back = None
        self._set_state(READY)

    def failed(self, is_served: bool) -> None:
        """The question is taken back; the conversation is as it was."""
        self.chat_log.take_back()
        self._put_back()
        self._set_state(READY if is_served else ENDED)

    def leave(self) -> None:
        """Nobody sits here any more."""
        self.display, self.wanted, self.seat, self.conversation, self.kept_turns = False, None, None, None, []
        self.inbox.clear()
        self._set_state(EMPTY)

    def did_not_start(self) -> None:
        self._put_back()
        self._set_state(ENDED)

    @property
    def is_asked_again(self) -> bool:
        """The question under way is the last one, unchanged."""
        return self._taken_back is not None and self._taken_back.question == self.question

    def _put_back(self) -> None:
        turn, self._taken_back = self._taken_back, None
        if turn is not None:
            self.turns.append(turn)
            self.chat_log.add_question(turn.question)
            self.chat_log.grow(turn.answer)
            self.chat_log.add_figures(figures(turn.finished))

    def clear(self) -> None:
        self.kept_turns, self._taken_back = [], None
        self.chat_log.clear()
        if self.conversation is not None:
            self.conversation.clear()

    def take_back(self) -> str:
        """The last question, taken back with its answer."""
        if self.conversation is None or not self.conversation.turns:
            return ""
        self.chat_log.take_back()
        self._taken_back = self.conversation.turns[-1]
        return self.conversation.take_back()

    @property
    def turns(self) -> list[Turn]:
        return self.conversation.turns if self.conversation is not None else self.kept_turns

    @property
    def talk(self) -> Talk | None:
        """What is to be kept of it."""
        if self.target is None or self.wanted is None:
            return None
        name = f"{self.target.name}, {self.wanted.adapter or 'base'}"
        system = self.conversation.system if self.conversation is not None else ""
        return Talk(name, self.target.served, str(self.wanted.limits(self.target)), self.turns, system)

    def _set_state(self, state: str) -> None:
        self.state = state
        for each in (EMPTY, STARTING, READY, ANSWERING, ENDED):
            self.set_class(each == state, "-" + each.strip(".").replace(" ", "-"))
        self._show_state()

    def _show_state(self) -> None:
        self.models.display, self.chat_log.display = self.wanted is None, self.wanted is not None
        if self.wanted is None:
            return
        state = "waiting" if self.state == ANSWERING and self.is_waiting else self.state
        who = f"[{state}] {self.wanted.adapter or 'base'} of {self.wanted.reference}"
        self.query_one(".who", Static).update(harmless_line(who))
        if self.target is not None:
            limits = self.wanted.limits(self.target)
            needed = f", needs about {self.target.needed_mb} MB" if self.target.needed_mb else ""
            provider = f"on {self.seat.provider.upper()}, " if self.seat and self.seat.provider else ""
            self.query_one(".what", Static).update(harmless_line(f"{_identity(self.target)}  {provider}{limits}{needed}"))


def _identity(target: ChatTarget) -> str:
    """The very image, short enough to be read out."""
    return target.served[:19] if target.served.startswith("sha256:") else "a local folder"
