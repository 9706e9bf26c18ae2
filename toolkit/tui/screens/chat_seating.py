"""Who answers in a chat: choosing a model, starting its server, starting it again."""

from __future__ import annotations

from functools import partial

from textual import getters, on, work
from textual.worker import get_current_worker

from toolkit.core.chat import Finished
from toolkit.core.chatroom import Chatroom, Seat, Wanted
from toolkit.core.serving import Serving
from toolkit.core.stock import Stock, stock
from toolkit.core.targets import ChatTarget
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.screens.chat_keeping import ChatKeeping
from toolkit.tui.screens.chat_settings import ChatSettings
from toolkit.tui.widgets.chat_input import ChatInput
from toolkit.tui.widgets.chat_log import ChatLog
from toolkit.tui.widgets.chat_models import ChooseModel, ModelList
from toolkit.tui.widgets.chat_side import EMPTY, ENDED, STARTING, ChatSide, Failed


class ChatSeating(ChatKeeping):
    """The part of the chat screen that seats its sides."""

    input = getters.query_one(ChatInput)

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.room = Chatroom(bench)
        self.settings = ChatSettings()
        self.left, self.right = ChatSide("left"), ChatSide("right")
        self.right.display = False
        self._known: Stock | None = None

    @property
    def sides(self) -> list[ChatSide]:
        """Those in use."""
        return [side for side in (self.left, self.right) if side.display]

    @work(thread=True, exclusive=True, exit_on_error=False, group="models")
    def _list_models(self) -> None:
        known = stock(self.bench)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._offer, known)

    def _offer(self, known: Stock) -> None:
        """Once, and again whenever it has changed; an engine that does not answer is asked again."""
        if self.left.state != EMPTY:
            return
        before, self._known = self._known, known
        if known.problem is not None:
            self.tell_problem(known.problem)
            self.set_timer(self.pace.list_seconds, self._list_again)
        elif before is not None and before.problem is not None:
            self.clear_problem()
        if before is None or (before.items, str(before.problem)) != (known.items, str(known.problem)):
            self.left.offer(known)
            self.left.models.focus()

    def _list_again(self) -> None:
        if self.is_current and self.left.state == EMPTY:
            self._list_models()

    @on(ModelList.Chosen)
    def model_chosen(self, event: ModelList.Chosen) -> None:
        side = next(side for side in (self.left, self.right) if side in event._sender.ancestors)
        self._start(side, self._under_limits(event.wanted), True)

    def action_choose_model(self) -> None:
        self._choose_for(self.left if len(self.sides) == 1 or not self.right.has_focus_within else self.right)

    @work(exclusive=True, group="choosing")
    async def _choose_for(self, side: ChatSide) -> None:
        known = await self.run_worker(partial(stock, self.bench), thread=True, exit_on_error=False, group="models").wait()
        wanted = await self.app.push_screen_wait(ChooseModel("Talk with:", known, self.left.wanted.reference if self.left.wanted else ""))
        if wanted is not None:
            await self._begin_with(side, wanted)

    async def _begin_with(self, side: ChatSide, wanted: Wanted) -> None:
        """Another model begins a new conversation; side by side both do, since only then they read the same."""
        is_two = side is self.right or self.right.display
        if not await self._may_part(f"Begin a new conversation{' on both sides' if is_two else ''}?", "Begin"):
            return
        side.display = True
        for each in self.sides:
            self._begin_anew(each)
        self._start(side, self._under_limits(wanted), True)
        self._show_two(is_two)

    def _begin_anew(self, side: ChatSide) -> None:
        side.clear()
        if side.conversation is not None and side.seat is not None:
            side.conversation = side.seat.conversation(self.settings.system)

    def _show_two(self, is_two: bool) -> None:
        self.query_one("#sides").set_class(is_two, "-two")
        for side in self.sides if is_two else ():
            side.chat_log.add_note("Both sides begin anew here.")

    def _focus_after(self, is_in_keys: bool) -> None:
        """Where the keys of the conversation were in use they stay so: the next letter is no text."""
        (self.left.chat_log if is_in_keys else self.input).focus()

    @property
    def _is_in_keys(self) -> bool:
        return isinstance(self.focused, ChatLog)

    def _under_limits(self, wanted: Wanted) -> Wanted:
        return Wanted(wanted.reference, wanted.adapter, self.settings.memory_mb, self.settings.cpus)

    def _start(self, side: ChatSide, wanted: Wanted, is_new: bool = False) -> None:
        """Seat a side; a new model begins a new conversation."""
        self.clear_problem()
        if side.conversation is not None:
            side.conversation.stop()
        if is_new:
            side.clear()
        side.starts(wanted)
        if not self._is_in_keys:
            self.input.focus()
        self._take_seat(side, wanted)

    def _take_seat(self, side: ChatSide, wanted: Wanted) -> None:
        def work() -> None:
            worker = get_current_worker()
            try:
                hear(side, self.room.take_seat(wanted, lambda target: hear(side, target), lambda: worker.is_cancelled))
            except ToolkitError as exc:
                if not worker.is_cancelled:
                    hear(side, Failed(exc))

        self.run_worker(work, thread=True, exclusive=True, exit_on_error=False, group=f"serve-{side.id}")

    def action_restart(self) -> None:
        for side in self.sides:
            if side.state == ENDED and side.wanted is not None:
                self._start(side, self._under_limits(side.wanted))

    def _end_unused(self) -> None:
        """End the servers that nobody sits at; not while one is being started, which has no seat yet."""
        if not any(side.state == STARTING for side in self.sides):
            self._end_others([side.seat.serving for side in self.sides if side.seat is not None])

    @work(thread=True, exit_on_error=False, group="ending")
    def _end_others(self, kept: list[Serving]) -> None:
        self.room.end_others(kept)


def hear(side: ChatSide, said: Finished | ChatTarget | Seat | Failed) -> None:
    """From any thread: a side hears this at once, after what it was told before."""
    side.inbox.append(said)
    side.post_message(ChatSide.Heard(side))
