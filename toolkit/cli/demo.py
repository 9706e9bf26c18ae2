"""demo: the main job on the built-in sample, from recipe to an answering (and pushed) image, with a table at the end."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import click

from toolkit.cli.output import say, table
from toolkit.cli.runs import _bench, _follow, engine_option
from toolkit.errors import ExitCode, ToolkitError

QUESTION = "My hotel in Azerbaijan wants to be paid in local cash. Which notes do I hand over?"
"""From the held-out rows: training never saw this phrasing."""


@click.command("demo", help="Do the main job on the built-in sample: build, package, chat, and push where a registry is given.")
@engine_option
@click.option("--recipe", type=click.Path(path_type=Path), default=None, help="Another recipe; default: the built-in sample.")
@click.option(
    "--registry", default="", help="HOST/REPOSITORY to push to; credentials from EDGE_REGISTRY_USERNAME and EDGE_REGISTRY_PASSWORD."
)
@click.option("--question", default=QUESTION, show_default=False, help="What base and adapters are asked at the end.")
def demo_command(engine: str | None, recipe: Path | None, registry: str, question: str) -> int:
    from toolkit.core.builds import prepare, start_build
    from toolkit.core.targets import start_package

    began = time.monotonic()
    bench = _bench(engine)
    chosen = bench.build_engine(bench.settings.engine).name
    say(
        f"Engine: {chosen}."
        + (
            ""
            if chosen == "docker"
            else " With a Docker engine the result would be an image, proven in a hardened container, that can be pushed."
        )
    )
    prepared = prepare(bench, recipe or bench.settings.samples.parent / "recipes" / "travel.toml", say)
    build = start_build(bench, prepared, say)
    if code := _follow(bench, build):
        return code
    package = start_package(bench, build, prepared.devices[0].name)
    if code := _follow(bench, package):
        return code
    release = _push(bench, package, registry) if registry else None
    answers = _ask(bench, package, question)
    _report(build, package, release, prepared.facts.bytes, question, answers)
    say(f"All of it took {time.monotonic() - began:.0f} s.")
    return ExitCode.OK


def _push(bench, package, registry: str):
    from toolkit.cli.secrets import registry_secrets
    from toolkit.core.publish_start import PublishWish, start_publish

    options = package.request["steps"][0]["options"]
    if options["engine"] != "docker":
        say("Nothing to push: the local engine makes no image.")
        return None
    run = start_publish(bench, PublishWish(options["tag"], registry), registry_secrets(registry, "", False))
    if _follow(bench, run):
        raise ToolkitError("The push failed; the image is packaged and can be pushed again.", f"edge resume {run.id}")
    return next(a for a in run.state().artifacts if a.kind == "release")


def _ask(bench, package, question: str) -> list[tuple[str, str, float]]:
    """(model, answer, tokens/s) of the base and of each adapter."""
    from toolkit.core.chat import Sampling, Token
    from toolkit.core.targets import chat_target

    target = chat_target(bench, package.id)
    answers = []
    with target.serving() as served:
        for model in served.conversation().models():
            pieces = list(served.conversation().ask(question, model.partition(":")[2], Sampling(max_tokens=40)))
            text = "".join(piece.text for piece in pieces if isinstance(piece, Token))
            answers.append((model, text.strip(), pieces[-1].tokens_per_second))
    return answers


def _report(build, package, release, model_bytes: int, question: str, answers) -> None:
    from toolkit.core.files import as_duration, as_size

    state, packed = build.state(), package.state()
    sizes = {artifact.step: artifact.bytes for artifact in (*state.artifacts, *packed.artifacts)}
    before = {"quantize": model_bytes, "export-cpu": sizes.get("quantize", 0)}
    rows = []
    for step in (*state.steps.values(), *packed.steps.values()):
        size = as_size(sizes[step.name]) if step.name in sizes and not step.name.startswith("evaluate") else ""
        if step.name in before and size:
            size = f"{as_size(before[step.name])} -> {size}"
        rows.append((step.name, "cached" if step.cached else as_duration(step.seconds), size))
    table(["step", "time", "size"], rows, right=["time", "size"])
    rows = []
    for step in state.steps.values():
        if step.name.startswith("evaluate"):
            adapter = step.name.split("-", 2)[2]
            for key, label in (("base", "base, PyTorch"), ("graph", "base, exported"), ("adapter", f"with {adapter}")):
                values = [step.metrics.get(f"{key}.{name}") for name in ("perplexity", "fact_accuracy")]
                rows.append((f"{adapter}, held out", label, *(_figure(value) for value in values)))
    table(["data", "model", "perplexity", "fact accuracy"], rows, right=["perplexity", "fact accuracy"])
    click.echo(f"Q: {question}")
    for model, text, rate in answers:
        click.echo(f"  {model:<14} {text}   [{rate:.0f} tokens/s]")
    image = packed.steps.get("image")
    name = package.request["steps"][0]["options"]["tag"] if image else package.id
    if image:
        metrics = image.metrics
        click.echo(
            f"\nimage {name}: {as_size(metrics['bytes'])}, of it {as_size(metrics['runtime_bytes'])} runtime and {as_size(metrics['model_layers_bytes'])} model and adapters"
        )
    if release:
        click.echo(f"pushed: {release.path}")
    edge = "edge" if shutil.which("edge") else os.path.relpath(sys.argv[0])  # what one can really type here
    click.echo("\nNext:")
    click.echo(f"  {edge} chat {name} --adapter {build.request['recipe']['adapters'][0]['name']}")
    if image:
        click.echo(f"  {edge} push {name} --registry HOST/REPOSITORY --username NAME")
    click.echo(f"  {edge} show {build.id}")
    click.echo("  cp data/recipes/travel.toml mine.toml     # your model, your data")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
