"""A conversation as a Markdown page: with which image, how it was sampled, what was said, and what each answer took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.chat import STOPPED, Finished, Turn
from toolkit.core.files import as_size, write_text
from toolkit.errors import ToolkitError


@dataclass(frozen=True)
class Talk:
    """One conversation as it is to be kept."""

    model: str
    """What answered, for people: image or run, and adapter."""
    identity: str
    """The very image by its id, or the folder."""
    limits: str
    turns: Sequence[Turn]
    system: str = ""


def as_markdown(talks: Sequence[Talk], at: float) -> str:
    """The page; of conversations held side by side, one after the other."""
    parts = [f"# Chat of {time.strftime('%Y-%m-%d %H:%M', time.localtime(at))}"]
    for talk in talks:
        parts += [f"## {talk.model}", _facts(talk), *(_turn(turn) for turn in talk.turns)]
    return "\n\n".join(parts) + "\n"


def _facts(talk: Talk) -> str:
    lines = [f"- image: `{talk.identity}`", f"- limits: {talk.limits}"]
    if talk.system:
        lines.append(f"- system prompt: {' '.join(talk.system.split())}")
    return "\n".join(lines)


def _turn(turn: Turn) -> str:
    """The question is quoted, so that no heading in it is taken for one of the page."""
    asked = "\n".join(f"> {line}".rstrip() for line in turn.question.splitlines())
    return f"### To {turn.adapter or 'the base'}\n\n{asked}\n\n{turn.answer.strip()}\n\n*{figures(turn.finished)}; {turn.sampling}*"


def figures(finished: Finished) -> str:
    """What an answer took and how it ended, in one line."""
    if not finished.tokens:
        return _ending(finished)
    parts = [f"first token {_milliseconds(finished.first_token_ms)}", f"{finished.tokens_per_second:.1f} tokens/s"]
    if finished.reason != "length":
        parts.append(f"{finished.tokens} tokens")
    if finished.memory_bytes:
        parts.append(as_size(finished.memory_bytes))
    if finished.queued_ms >= 100:
        parts.append(f"waited {_milliseconds(finished.queued_ms)}")
    return ", ".join([*parts, _ending(finished)])


def _ending(finished: Finished) -> str:
    words = {"stop": "complete", STOPPED: "stopped by you", "length": f"cut at {finished.tokens} tokens"}
    return words.get(finished.reason, finished.reason)


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def save(path: Path, text: str) -> None:
    """Write it whole.

    Raises:
        ToolkitError: the place cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as exc:
        raise ToolkitError(f"{path} cannot be written: {exc.strerror}.", "Choose another place.") from exc


def default_place(home: Path, name: str, at: float, ending: str) -> Path:
    """Where a chat is kept unless the person says otherwise."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name).strip("-")
    return home / "chats" / f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(at))}-{plain}.{ending}"
