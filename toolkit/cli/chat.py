"""chat: talk with a packaged image, or ask it a file of prompts."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from toolkit.cli.output import emit_json, json_option, say
from toolkit.cli.runs import _bench


@click.command("chat", help="Talk with IMAGE: a packaged image, or a run that was packaged.")
@click.argument("image")
@click.option("--adapter", default="", help="Adapter to answer with; default: the base.")
@click.option("--compare", default="", metavar="A,B", help="Ask these of each prompt: `base`, adapters, or IMAGE@ADAPTER of another image.")
@click.option("--prompt", "prompts", multiple=True, help="Ask this and leave; give it again for the next turn.")
@click.option(
    "--prompts-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Ask each line (.txt), or each line's `prompt` (.jsonl), in a conversation of its own.",
)
@click.option("--system", default="", help="System prompt.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True, help="0 is greedy.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Choose among the likeliest tokens that make up this share.",
)
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="Longest answer.")
@click.option("--seed", type=click.IntRange(0), default=None, help="The same seed gives the same answer.")
@click.option("--memory", "memory_mb", type=click.IntRange(64), default=None, help="Memory limit in MB; default: the device's.")
@click.option("--cpus", type=click.FloatRange(0, min_open=True), default=None, help="CPUs it may use; default: the device's.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the conversation there, as Markdown.")
@json_option
def chat_command(
    image: str,
    adapter: str,
    compare: str,
    prompts: tuple[str, ...],
    prompts_file: Path | None,
    system: str,
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int | None,
    memory_mb: int | None,
    cpus: float | None,
    save: Path | None,
    as_json: bool,
) -> None:
    from toolkit.core.batch import read_prompts
    from toolkit.core.chat import Sampling

    if prompts and prompts_file:
        raise click.UsageError("Give --prompt or --prompts-file, not both.")
    questions = read_prompts(prompts_file) if prompts_file else ()  # before anything is started
    names = compare.split(",") if compare else [adapter or "base"]
    if len(names) > 1 and not (prompts or questions):
        raise click.UsageError("--compare needs --prompt or --prompts-file; the terminal UI chats side by side.")
    sampling = Sampling(temperature, top_p, max_tokens, seed)
    with ExitStack() as stack:
        sides = _sides(stack, image, names, system, memory_mb, cpus)
        if questions:
            _batch(sides, questions, sampling, as_json)
        else:
            _talk(sides, prompts, sampling, as_json)
        if save:
            _save(save, sides)


@dataclass(frozen=True)
class Side:
    """One of those that are asked."""

    name: str
    adapter: str
    target: object
    served: object
    conversation: object
    earlier: list
    """Turns of conversations that were left for a new one."""


def _sides(stack: ExitStack, image: str, names: list[str], system: str, memory_mb: int | None, cpus: float | None) -> list[Side]:
    """A conversation with each of `names`; an image is served once."""
    from toolkit.core.serving import Limits
    from toolkit.core.targets import chat_target

    bench, serving, sides = _bench(), {}, []
    for name in names:
        other, _, adapter = name.strip().rpartition("@")
        reference, adapter = other or image, "" if adapter == "base" else adapter
        if reference not in serving:
            target = chat_target(bench, reference)
            limits = Limits(memory_mb or target.limits.memory_mb, cpus or target.limits.cpus)
            say(f"Starting {target.name} ...")
            serving[reference] = target, stack.enter_context(target.serving(limits))
            say(f"It runs on {serving[reference][1].provider().upper()}.")
        target, served = serving[reference]
        conversation = served.conversation(system)
        target.check_adapter(adapter, conversation.models())
        sides.append(Side(name.strip(), adapter, target, served, conversation, []))
    return sides


def _talk(sides: list[Side], prompts: tuple[str, ...], sampling, as_json: bool) -> None:
    from toolkit.cli.talk import talk, talk_once

    if not prompts:
        talk(sides[0].conversation, sides[0].adapter, sampling)
        return
    turns = []
    for side in sides:
        if len(sides) > 1:
            say(f"-- {side.name}")
        turns += talk_once(side.conversation, prompts, side.adapter, sampling, quiet=as_json)
    if as_json:
        emit_json(turns)


def _batch(sides: list[Side], questions, sampling, as_json: bool) -> None:
    """Results go to stdout: lines of JSON, or prompt and answers for people."""
    from toolkit.core.batch import Model, as_line, ask_all, summaries

    def new_conversation(side: Side):
        side.earlier.extend(side.conversation.turns)
        side.conversation.clear()
        return side.conversation

    models = [Model(side.name, side.adapter, lambda side=side: new_conversation(side)) for side in sides]
    results = []
    for result in ask_all(questions, models, sampling):
        results.append(result)
        say(f"{len(results)} of {len(questions) * len(models)}")
        if as_json:
            click.echo(as_line(result))
        else:
            click.echo(f"{result.line} [{result.model}] {result.prompt}\n{result.problem or result.answer.strip()}\n")
    for summary in summaries(results):
        say(
            f"{summary.model}: {summary.answers} answers, {summary.problems} refused, {summary.tokens} tokens, "
            f"first token {summary.first_token_ms:.0f} ms, {summary.tokens_per_second:.1f} tokens/s"
        )


def _save(path: Path, sides: list[Side]) -> None:
    from toolkit.core.transcript import Talk, as_markdown, save

    talks = [
        Talk(
            f"{side.target.name}, {side.adapter or 'base'}",
            side.target.served,
            str(side.served.limits),
            [*side.earlier, *side.conversation.turns],
            side.conversation.system,
        )
        for side in sides
    ]
    save(path, as_markdown(talks, time.time()))
    say(f"Saved: {path}")
