"""A chat on the terminal: answers stream to stdout, figures go to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from toolkit.cli.output import say
from toolkit.core.chat import Conversation, Finished, Sampling, Token
from toolkit.core.transcript import figures
from toolkit.errors import ChatError

HELP = "/adapter NAME, /base, /clear, /help, /quit; Ctrl-C stops an answer."


def talk_once(conversation: Conversation, prompts: Sequence[str], adapter: str, sampling: Sampling, quiet: bool) -> list[dict]:
    """Ask the prompts one after another in one conversation."""
    turns = []
    for prompt in prompts:
        text, finished = _answer(conversation, prompt, adapter, sampling, quiet)
        turns.append({"prompt": prompt, "adapter": adapter, "answer": text, "figures": finished})
    return turns


def talk(conversation: Conversation, adapter: str, sampling: Sampling) -> None:
    """Questions and answers until the end of input or /quit."""
    say(f"{', '.join(conversation.models())}. {HELP}")
    while True:
        try:
            text = input(f"{adapter or 'base'}> ").strip()
        except (EOFError, KeyboardInterrupt):
            say()
            return
        if not text:
            continue
        if text.startswith("/"):
            if text in ("/quit", "/exit"):
                return
            adapter = _command(conversation, text, adapter)
            continue
        try:
            _answer(conversation, text, adapter, sampling)
        except KeyboardInterrupt:
            say("\n(stopped; the turn is not kept)")
        except ChatError as exc:
            say(f"edge: {exc.message}\n      {exc.hint}".rstrip())


def _command(conversation: Conversation, text: str, adapter: str) -> str:
    name, _, value = text.partition(" ")
    known = [model.partition(":")[2] for model in conversation.models()]
    match name:
        case "/base":
            return ""
        case "/adapter" if value.strip() in known:
            return value.strip()
        case "/adapter":
            say(f"There is no adapter '{value.strip()}'; there are: {', '.join(filter(None, known)) or 'none'}.")
        case "/clear":
            conversation.clear()
            say("(a new conversation)")
        case _:
            say(HELP)
    return adapter


def _answer(conversation: Conversation, prompt: str, adapter: str, sampling: Sampling, quiet: bool = False) -> tuple[str, Finished]:
    text = ""
    finished = None
    for piece in conversation.ask(prompt, adapter, sampling):
        if isinstance(piece, Token):
            text += piece.text
            if not quiet:
                sys.stdout.write(piece.text)
                sys.stdout.flush()
        else:
            finished = piece
    assert finished
    if not quiet:
        sys.stdout.write("\n")
        sys.stdout.flush()
        say(f"[{figures(finished)}]")
    return text, finished
