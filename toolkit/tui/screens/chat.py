"""Chat with the very image that will be pushed: streamed answers and what they took, one model or two side by side."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from toolkit.core.chat import Conversation, Finished, Sampling, Token
from toolkit.core.chatroom import Seat, Wanted
from toolkit.core.targets import ChatTarget
from toolkit.core.workbench import Workbench
from toolkit.errors import ModelOutOfMemory, ToolkitError
from toolkit.tui.screens.chat_seating import ChatSeating, hear
from toolkit.tui.screens.chat_settings import ChatSettingsScreen
from toolkit.tui.widgets.chat_input import ChatInput
from toolkit.tui.widgets.chat_side import ANSWERING, EMPTY, ENDED, READY, STARTING, ChatSide, Failed

LETTERS_A_TOKEN = 4
"""Rule of thumb for a first word on a long paste; the server counts for certain."""
MOST_OF_A_FRAME = 0.25
"""Share of the time that drawing an answer may take; a slower picture comes less often."""


class ChatScreen(ChatSeating):
    place = "chat"
    CSS_PATH = "chat.tcss"
    AUTO_FOCUS = ""
    BINDINGS = [
        Binding("escape", "stop", "Stop"),
        Binding("ctrl+g", "stop", "Stop", show=False),
        Binding("ctrl+s", "restart", "Start again"),
    ]

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self._frames: Timer | None = None
        self._skip = 0
        self._first = ""
        """Whom to talk with as soon as the screen is there."""
        self._after_start = ""
        """A question that waits for its model to start."""
        self._draft: str | None = None
        """What was being written when the last question was taken for editing; None: nothing is edited."""

    def body(self) -> Sequence[Widget]:
        return (
            Horizontal(self.left, self.right, id="sides"),
            Static("", id="sampling", classes="muted", markup=False),
            ChatInput(),
        )

    def on_mount(self) -> None:
        self._show_sampling()
        if self._first:
            self.choose(self._first)
        self.on_screen_resume()

    def on_screen_resume(self) -> None:
        if not self.left.is_mounted:
            return  # the first time it comes before there is anything
        if self.left.state == EMPTY:
            self._list_models()
        self._keep_painting()

    def on_screen_suspend(self) -> None:
        """What comes meanwhile waits in the inboxes; the conversation and its server stay."""
        self._stop_painting()

    def on_unmount(self) -> None:
        self._stop_asking()
        threading.Thread(target=self.room.end_others, args=([],), daemon=True).start()  # quitting never waits for it

    def choose(self, target: str) -> None:
        """Talk with this image or run; a talk under way with it goes on."""
        if not self.left.is_mounted:
            self._first = target
            return
        if self.left.wanted is None or self.left.wanted.reference != target or self.left.state == ENDED:
            self._talk_with(Wanted(target))

    @work(exclusive=True, group="choosing")
    async def _talk_with(self, wanted: Wanted) -> None:
        await self._begin_with(self.left, wanted)

    # -- asking -----------------------------------------------------------------------------------------------------

    @on(ChatInput.Sent)
    def send(self, event: ChatInput.Sent) -> None:
        """Ask everybody in use; where a server has ended it is started again first."""
        states = {side.state for side in self.sides}
        if ANSWERING in states or EMPTY in states:
            self.notify("Wait for the answer, or stop it with Esc." if ANSWERING in states else "Choose a model first: ctrl+o.")
            return
        if self._draft is not None:
            self._draft = None
            self._show_sampling()
            self._take_back()
        self.input.take()
        if states != {READY}:
            self._after_start = event.text
            self.action_restart()
            return
        self._ask(event.text)

    def _ask(self, text: str) -> None:
        self.clear_problem()
        for side in self.sides:
            side.asks(text)
            self._listen(side, side.seat, side.conversation, text, self.settings.sampling)
        self._keep_painting()
        self.refresh_bindings()

    def _listen(self, side: ChatSide, seat: Seat, conversation: Conversation, text: str, sampling: Sampling) -> None:
        def work() -> None:
            try:
                for piece in conversation.ask(text, seat.wanted.adapter, sampling):
                    if isinstance(piece, Token):
                        side.inbox.append(piece.text)
                    else:
                        hear(side, piece)
            except ToolkitError as exc:
                hear(side, Failed(exc, _is_served(seat)))

        self.run_worker(work, thread=True, exit_on_error=False, group=f"ask-{side.id}")

    @on(ChatSide.Heard)
    def heard(self, event: ChatSide.Heard) -> None:
        self._read_inbox(event.side)

    def _read_inbox(self, side: ChatSide) -> None:
        words = []
        while side.inbox:
            said = side.inbox.popleft()
            if isinstance(said, str):
                words.append(said)
                continue
            self._grow(side, words)
            self._hear(side, said)
        self._grow(side, words)

    def _grow(self, side: ChatSide, words: list[str]) -> None:
        if words:
            side.grow("".join(words))
            words.clear()

    def _hear(self, side: ChatSide, said: Finished | ChatTarget | Seat | Failed) -> None:
        if side.wanted is None:
            return  # it was left meanwhile
        if isinstance(said, ChatTarget):
            side.found(said)
        elif isinstance(said, Seat):
            self._seated(side, said)
        elif isinstance(said, Finished):
            self._answered(side, said)
        else:
            self._failed(side, said)
        self.refresh_bindings()

    def _seated(self, side: ChatSide, seat: Seat) -> None:
        side.seated(seat, self.settings.system)
        self._end_unused()
        if self._after_start and all(each.state == READY for each in self.sides):
            question, self._after_start = self._after_start, ""
            self._ask(question)

    def _answered(self, side: ChatSide, finished: Finished) -> None:
        if side.conversation.turns and side.conversation.turns[-1].finished is finished:
            side.answered(finished)
        else:  # stopped before its first word
            self._give_back("" if side.is_asked_again else side.question)
            side.failed(True)
        if not any(each.state == ANSWERING for each in self.sides):
            self._stop_painting()
            self._warn_of_a_difference()

    def _warn_of_a_difference(self) -> None:
        asked = [[turn.question for turn in side.turns] for side in self.sides]
        if asked[0] != asked[-1]:
            self.tell_problem("The sides have not answered the same questions. ^r asks the last one again, ^n begins both anew.")

    def _failed(self, side: ChatSide, failed: Failed) -> None:
        was_starting = side.state == STARTING
        question = self._after_start if was_starting else "" if side.is_asked_again else side.question
        self._after_start = ""
        if was_starting:
            side.did_not_start()
            self._end_unused()
        else:
            side.failed(failed.is_served)
        self._give_back(question)
        self.tell_problem(_with_the_way(failed.problem))

    def _give_back(self, question: str) -> None:
        """What was typed, unless something new is being typed."""
        if question and not self.input.text:
            self.input.give(question)

    def _keep_painting(self) -> None:
        for side in self.sides:
            self._read_inbox(side)
        if self._frames is None and any(side.state == ANSWERING for side in self.sides):
            self._frames = self.set_interval(self.pace.frame_seconds, self._paint)

    def _stop_painting(self) -> None:
        if self._frames is not None:
            self._frames.stop()
            self._frames = None

    def _paint(self) -> None:
        """One picture of what came; where drawing is slow, some are left out."""
        if self._skip > 0:
            self._skip -= 1
            return
        for side in self.sides:
            self._read_inbox(side)
        cost = sum(side.chat_log.paint_seconds for side in self.sides)
        self._skip = int(cost / MOST_OF_A_FRAME / self.pace.frame_seconds)

    # -- what a person does to a chat -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        states = [side.state for side in self.sides] if self.left.is_mounted else []
        if action in ("stop", "leave_input"):
            return (ANSWERING in states) == (action == "stop")
        if action == "restart":
            return ENDED in states
        if action in ("regenerate", "edit"):
            return ANSWERING not in states and self._has_turns
        if action in ("copy_answer", "copy_chat", "save"):
            return self._has_turns
        if action == "batch":
            return READY in states
        if action in ("new_conversation", "side_by_side"):
            return states != [EMPTY]
        return True

    @property
    def _has_turns(self) -> bool:
        return self.left.is_mounted and any(side.turns for side in self.sides)

    def _stop_asking(self) -> None:
        for side in (self.left, self.right):
            if side.conversation is not None:
                side.conversation.stop()

    def action_stop(self) -> None:
        self._stop_asking()

    def action_leave_input(self) -> None:
        """Escape leaves the last question as it was where it is edited, else the field for the keys of the conversation."""
        if self._draft is not None:
            self._leave_editing()
            return
        (self.left.chat_log if self.left.wanted else self.left.models).focus()

    @on(ChatInput.Folded)
    def warn_of_length(self, event: ChatInput.Folded) -> None:
        tokens = event.characters // LETTERS_A_TOKEN
        longest = min((side.target.max_length for side in self.sides if side.target and side.target.max_length), default=0)
        if longest and tokens > longest:
            self.tell_problem(f"That is about {tokens:,} tokens, and question and answer together may be {longest:,} here. Shorten it.")

    def action_write(self) -> None:
        self.input.focus()

    def action_regenerate(self) -> None:
        if any(side.state != READY for side in self.sides):
            self.notify("Start the model first: ctrl+s.")
        elif question := self._take_back():
            self._ask(question)

    def action_edit(self) -> None:
        """The last question into the field. It stays where it is, with its answer, until it is sent."""
        if self._draft is None:
            self._draft = self.input.written
            self.input.give(self._longest.turns[-1].question)
        self.input.focus()
        self._show_sampling()

    def _leave_editing(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            self.input.give(draft)
            self._show_sampling()

    @property
    def _longest(self) -> ChatSide:
        return max(self.sides, key=lambda side: len(side.turns))

    def _take_back(self) -> str:
        """The last question, from every side that answered it."""
        count = len(self._longest.turns)
        return next(filter(None, [side.take_back() for side in self.sides if len(side.turns) == count]), "")

    @work(exclusive=True, group="choosing")
    async def action_new_conversation(self) -> None:
        is_in_keys = self._is_in_keys
        if not await self._may_part("Begin a new conversation?", "Begin"):
            return
        self.clear_problem()
        self._leave_editing()
        for side in self.sides:
            self._begin_anew(side)
        self._focus_after(is_in_keys)
        self.refresh_bindings()

    def action_side_by_side(self) -> None:
        """A second model beside the first, or the first alone again."""
        if self.right.display:
            self._close_right()
        else:
            self._choose_for(self.right)

    @work(exclusive=True, group="choosing")
    async def _close_right(self) -> None:
        is_in_keys = self._is_in_keys
        if self.right.turns and not await self._may_part("Close the right side?", "Close"):
            return
        if self.right.conversation is not None:
            self.right.conversation.stop()
        self.right.leave()
        self._show_two(False)
        self._end_unused()
        self.refresh_bindings()
        self._focus_after(is_in_keys)

    @work(exclusive=True, group="settings")
    async def action_settings(self) -> None:
        needed_mb = max((side.target.needed_mb for side in self.sides if side.target), default=0)
        chosen = await self.app.push_screen_wait(ChatSettingsScreen(self.settings, needed_mb))
        if chosen is None:
            return
        had, self.settings = self.settings, chosen
        self._show_sampling()
        if (had.memory_mb, had.cpus) != (chosen.memory_mb, chosen.cpus):
            for side in self.sides:
                if side.wanted is not None:
                    self._start(side, self._under_limits(side.wanted))
        for side in self.sides:
            if side.conversation is not None and not side.turns:
                side.conversation.system = chosen.system

    def _show_sampling(self) -> None:
        if self._draft is not None:
            self.query_one("#sampling", Static).update("Editing the last question: Enter asks it anew, Esc leaves it as it was.")
            return
        system = f"  system prompt: {self.settings.system}" if self.settings.system else ""
        self.query_one("#sampling", Static).update(f"{self.settings.sampling}{system}")


def _with_the_way(problem: ToolkitError) -> ToolkitError:
    """The same, with the key that gives a model more memory."""
    if isinstance(problem, ModelOutOfMemory):
        return ModelOutOfMemory(problem.message, f"{problem.hint} The limit: Esc, then t (Settings).")
    return problem


def _is_served(seat: Seat) -> bool:
    try:
        return seat.serving.is_served
    except ToolkitError:
        return False  # the engine itself is gone
