"""Who answers in a chat: choosing a model, starting its server, starting it again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from textual import getters, on, work
from textual.worker import get_current_worker

from toolkit.core.chat import Finished
from toolkit.core.chatroom import Chatroom, Seat, Wanted
from toolkit.core.serving import Serving
from toolkit.core.targets import ChatTarget, Packaged, packaged
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.screens.chat_settings import ChatSettings
from toolkit.tui.widgets.chat_input import ChatInput
from toolkit.tui.widgets.chat_models import ChooseModel, ModelList
from toolkit.tui.widgets.chat_side import EMPTY, ENDED, STARTING, ChatSide, Failed


class ChatSeating(EdgeScreen):
    """The part of the chat screen that seats its sides."""

    input = getters.query_one(ChatInput)

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.room = Chatroom(bench)
        self.settings = ChatSettings()
        self.left, self.right = ChatSide("left"), ChatSide("right")
        self.right.display = False
        self._rows: Sequence[Packaged] = ()

    @property
    def sides(self) -> list[ChatSide]:
        """Those in use."""
        return [side for side in (self.left, self.right) if side.display]

    @work(thread=True, exclusive=True, exit_on_error=False, group="models")
    def _list_models(self) -> None:
        rows = packaged(self.bench)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._offer, rows)

    def _offer(self, rows: Sequence[Packaged]) -> None:
        self._rows = rows
        for side in self.sides:
            side.offer(rows)
        if self.left.state == EMPTY:
            self.left.models.focus()

    @on(ModelList.Chosen)
    def model_chosen(self, event: ModelList.Chosen) -> None:
        side = next(side for side in (self.left, self.right) if side in event._sender.ancestors)
        self._start(side, self._under_limits(event.wanted), True)

    def action_choose_model(self) -> None:
        self._choose_for(self.left if len(self.sides) == 1 or not self.right.has_focus_within else self.right)

    @work(exclusive=True, group="choosing")
    async def _choose_for(self, side: ChatSide) -> None:
        rows = await self.run_worker(partial(packaged, self.bench), thread=True, exit_on_error=False, group="models").wait()
        wanted = await self.app.push_screen_wait(ChooseModel("Talk with:", rows, self.left.wanted.reference if self.left.wanted else ""))
        if wanted is None:
            return
        side.display = True
        self._start(side, self._under_limits(wanted), True)

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
