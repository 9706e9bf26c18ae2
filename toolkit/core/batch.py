"""A file of prompts asked of one or more models, each prompt in a conversation of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.chat import STOPPED, Conversation, Finished, Sampling, Token
from toolkit.errors import DataError, PromptTooLong


@dataclass(frozen=True)
class Model:
    """Who is asked."""

    name: str
    """For people and in the results: `base`, `travel`, or with the image before it."""
    adapter: str
    new_conversation: Callable[[], Conversation]


@dataclass(frozen=True)
class Result:
    """One prompt and one model's answer, or what went wrong."""

    line: int
    """Of the prompt in its file, from 1."""
    prompt: str
    model: str
    answer: str
    figures: Finished | None
    problem: str = ""


@dataclass(frozen=True)
class Prompt:
    line: int
    text: str


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts of a file: one a line, or in a `.jsonl` file the field `prompt` of each line's object. Blank lines count nothing.

    Raises:
        DataError: it cannot be read, or holds no prompt; names the line.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(_why_unread(path, exc), "Give a text file in UTF-8.") from exc
    read = _from_json if path.suffix == ".jsonl" else lambda path, number, line: line.strip()
    prompts = tuple(Prompt(number, read(path, number, line)) for number, line in enumerate(lines, 1) if line.strip())
    if not prompts:
        raise DataError(f"{path} holds no prompt.", "Write one prompt a line, or JSON objects with `prompt` in a .jsonl file.")
    return prompts


def _why_unread(path: Path, exc: OSError | UnicodeDecodeError) -> str:
    if isinstance(exc, FileNotFoundError):
        return f"There is no file {path}."
    if isinstance(exc, IsADirectoryError):
        return f"{path} is a folder, not a file."
    if isinstance(exc, OSError):
        return f"{path} cannot be read: {(exc.strerror or 'no such place').lower()}."
    return f"{path} is not a text in UTF-8."


def _from_json(path: Path, number: int, line: str) -> str:
    try:
        prompt = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError):
        prompt = None
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"{path}:{number}: no JSON object with a text `prompt`.", 'Each line: {"prompt": "..."}.')
    return prompt


def ask_all(
    prompts: Sequence[Prompt],
    models: Sequence[Model],
    sampling: Sampling,
    watch: Callable[[Conversation], None] = lambda conversation: None,
    leave: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Each prompt's answers, as they are whole. A prompt that is refused is a result; a server that is gone ends it all.

    `watch` is handed each conversation before it is asked, so that it can be stopped; `leave` ends the batch early.

    Raises:
        ChatError: a server is gone.
    """
    for prompt in prompts:
        for model in models:
            if leave():
                return
            conversation = model.new_conversation()
            watch(conversation)
            result = _ask(conversation, prompt, model, sampling)
            if result.figures and result.figures.reason == STOPPED:
                return
            yield result


def _ask(conversation: Conversation, prompt: Prompt, model: Model, sampling: Sampling) -> Result:
    text, finished = [], None
    try:
        for piece in conversation.ask(prompt.text, model.adapter, sampling):
            if isinstance(piece, Token):
                text.append(piece.text)
            else:
                finished = piece
    except PromptTooLong as exc:
        return Result(prompt.line, prompt.text, model.name, "", None, exc.message)
    return Result(prompt.line, prompt.text, model.name, "".join(text), finished)


def as_line(result: Result) -> str:
    """A result as one line of JSON."""
    return json.dumps(dataclasses.asdict(result), ensure_ascii=False)


def as_table(results: Iterable[Result]) -> str:
    """For a spreadsheet: one line a result, columns parted by tabs."""
    rows = [("line", "model", "tokens", "tokens/s", "prompt", "answer"), *map(_cells, results)]
    return "".join("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in rows)


def _cells(result: Result) -> tuple[str, ...]:
    taken = result.figures
    numbers = (str(taken.tokens), f"{taken.tokens_per_second:.1f}") if taken else ("-", "-")
    return (str(result.line), result.model, *numbers, result.prompt, result.answer if taken else f"! {result.problem}")


def as_lines(results: Iterable[Result]) -> str:
    return "".join(as_line(result) + "\n" for result in results)


@dataclass(frozen=True)
class Summary:
    """What a batch came to, for one model."""

    model: str
    answers: int
    problems: int
    tokens: int
    first_token_ms: float
    """Mean."""
    tokens_per_second: float
    """Mean, each answer counting by its tokens."""


def summaries(results: Sequence[Result]) -> list[Summary]:
    names = dict.fromkeys(result.model for result in results)
    return [_summary(name, [result for result in results if result.model == name]) for name in names]


def _summary(name: str, results: Sequence[Result]) -> Summary:
    figures = [result.figures for result in results if result.figures]
    tokens = sum(each.tokens for each in figures)
    first = sum(each.first_token_ms for each in figures) / len(figures) if figures else 0.0
    speed = sum(each.tokens_per_second * each.tokens for each in figures) / tokens if tokens else 0.0
    return Summary(name, len(figures), len(results) - len(figures), tokens, first, speed)
