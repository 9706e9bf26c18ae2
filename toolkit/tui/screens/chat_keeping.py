"""What is taken away from a chat: copies, transcripts, and the answers to a file of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import work

from toolkit.core import batch, transcript
from toolkit.errors import ToolkitError
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.screens.batch import AskPrompts, BatchScreen
from toolkit.tui.widgets.chat_side import ANSWERING, READY, ChatSide
from toolkit.tui.widgets.dialogs import AskText, Confirm

if TYPE_CHECKING:
    from toolkit.tui.screens.chat_settings import ChatSettings

COPIED = "Copied, if this terminal lets programs copy; s saves it to a file."


class ChatKeeping(EdgeScreen):
    """The part of the chat screen that hands out what was said."""

    left: ChatSide
    sides: list[ChatSide]
    settings: ChatSettings

    def action_copy_answer(self) -> None:
        answers = [side.turns[-1].answer for side in self.sides if side.turns]
        self._copy("\n\n".join(answers))

    def action_copy_chat(self) -> None:
        self._copy(self._markdown() if any(side.turns for side in self.sides) else "")

    def _copy(self, text: str) -> None:
        if text:
            self.app.copy_to_clipboard(text)
        self.notify(COPIED if text else "There is nothing to copy yet.")

    def _markdown(self) -> str:
        return transcript.as_markdown([side.talk for side in self.sides if side.talk is not None], self.bench.clock())

    @work(exclusive=True, group="saving")
    async def action_save(self) -> None:
        if not any(side.turns for side in self.sides):
            self.notify("There is nothing to save yet.")
            return
        chosen = await self.app.push_screen_wait(AskText("Save the conversation as:", str(self._place)))
        if chosen:
            self._save(Path(chosen).expanduser())

    @property
    def _place(self) -> Path:
        return transcript.default_place(self.bench.settings.home, self.left.wanted.reference, self.bench.clock(), "md")

    def _save(self, place: Path) -> bool:
        try:
            transcript.save(place, self._markdown())
        except ToolkitError as exc:
            self.tell_problem(exc)
            return False
        self.notify(f"Saved: {place}", markup=False)
        return True

    async def _may_part(self, question: str, yes: str) -> bool:
        """Nothing that was said goes unasked, and it is saved first."""
        if any(side.state == ANSWERING for side in self.sides):
            self.notify("Wait for the answer, or stop it with Esc.")
            return False
        if not any(side.turns for side in self.sides):
            return True
        place = self._place
        wants = await self.app.push_screen_wait(Confirm(question, f"What was said here is saved first, as {place}.", yes))
        return wants and self._save(place)

    @work(exclusive=True, group="batch")
    async def action_batch(self) -> None:
        """A prompt file asked of everybody in use."""
        if any(side.state != READY for side in self.sides):
            self.notify("Start a model first, and wait for its answer.")
            return
        chosen = await self.app.push_screen_wait(AskPrompts())
        if not chosen:
            return
        prompts = batch.read_prompts(Path(chosen).expanduser())
        self.clear_problem()
        place = transcript.default_place(self.bench.settings.home, Path(chosen).stem, self.bench.clock(), "jsonl")
        models = [_model(side, len(self.sides) > 1, self.settings.system) for side in self.sides]
        self.app.push_screen(BatchScreen(self.bench, prompts, models, self.settings.sampling, place))


def _model(side: ChatSide, is_one_of_two: bool, system: str) -> batch.Model:
    adapter = side.wanted.adapter
    name = f"{side.wanted.reference}@{adapter or 'base'}" if is_one_of_two else adapter or "base"
    return batch.Model(name, adapter, lambda: side.seat.conversation(system))
