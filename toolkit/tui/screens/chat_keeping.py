"""What is taken away from a chat: copies, transcripts, and the answers to a file of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import work

from toolkit.core import batch, transcript
from toolkit.errors import ToolkitError
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.screens.batch import BatchScreen
from toolkit.tui.widgets.chat_side import READY, ChatSide
from toolkit.tui.widgets.dialogs import AskText

if TYPE_CHECKING:
    from toolkit.tui.screens.chat_settings import ChatSettings


class ChatKeeping(EdgeScreen):
    """The part of the chat screen that hands out what was said."""

    left: ChatSide
    sides: list[ChatSide]
    settings: ChatSettings

    def action_copy_answer(self) -> None:
        answers = [side.turns[-1].answer for side in self.sides if side.turns]
        self._copy("\n\n".join(answers), "The answer is copied.")

    def action_copy_chat(self) -> None:
        self._copy(self._markdown() if any(side.turns for side in self.sides) else "", "The whole chat is copied.")

    def _copy(self, text: str, said: str) -> None:
        if text:
            self.app.copy_to_clipboard(text)
        self.notify(said if text else "There is nothing to copy yet.")

    def _markdown(self) -> str:
        return transcript.as_markdown([side.talk for side in self.sides if side.talk is not None], self.bench.clock())

    @work(exclusive=True, group="saving")
    async def action_save(self) -> None:
        if not any(side.turns for side in self.sides):
            self.notify("There is nothing to save yet.")
            return
        place = transcript.default_place(self.bench.settings.home, self.left.wanted.reference, self.bench.clock(), "md")
        chosen = await self.app.push_screen_wait(AskText("Save the conversation as:", str(place)))
        if not chosen:
            return
        try:
            transcript.save(Path(chosen).expanduser(), self._markdown())
        except ToolkitError as exc:
            self.tell_problem(exc)
            return
        self.notify(f"Saved: {chosen}")

    @work(exclusive=True, group="batch")
    async def action_batch(self) -> None:
        """A prompt file asked of everybody in use."""
        if any(side.state != READY for side in self.sides):
            self.notify("Start a model first, and wait for its answer.")
            return
        note = "One prompt a line (.txt), or JSON objects with `prompt` (.jsonl)."
        chosen = await self.app.push_screen_wait(AskText("Ask the prompts of which file?", note=note))
        if not chosen:
            return
        try:
            prompts = batch.read_prompts(Path(chosen).expanduser())
        except ToolkitError as exc:
            self.tell_problem(exc)
            return
        self.clear_problem()
        place = transcript.default_place(self.bench.settings.home, Path(chosen).stem, self.bench.clock(), "jsonl")
        models = [_model(side, len(self.sides) > 1, self.settings.system) for side in self.sides]
        self.app.push_screen(BatchScreen(self.bench, prompts, models, self.settings.sampling, place))


def _model(side: ChatSide, is_one_of_two: bool, system: str) -> batch.Model:
    adapter = side.wanted.adapter
    name = f"{side.wanted.reference}@{adapter or 'base'}" if is_one_of_two else adapter or "base"
    return batch.Model(name, adapter, lambda: side.seat.conversation(system))
