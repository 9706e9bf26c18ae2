"""models: what a store of models holds, and what it came from."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import click

from toolkit.cli.output import emit_json, json_option, plain, say, table
from toolkit.cli.runs import _bench
from toolkit.errors import ExitCode

WORDS = {"perplexity": "perplexity {:.3g}", "fact_accuracy": "facts {:.0%}", "tokens_per_second": "{:.0f} tokens/s"}


@click.command(
    "models",
    help="List registered models: the newest of each; with NAME every version, with NAME:VERSION all that is known of it.",
)
@click.argument("wanted", metavar="[NAME[:VERSION]]", default="")
@click.option("--workspace", default="", help="Azure ML workspace: SUBSCRIPTION/GROUP/NAME. Default: the settings.")
@click.option("--model-registry", default="", metavar="NAME", help="Look into this Azure ML registry instead.")
@click.option("--image", default="", metavar="DIGEST", help="Only what this image carries.")
@click.option("--download", type=click.Path(path_type=Path, file_okay=False), default=None, help="Put the model's files into this folder.")
@click.option("--compare", metavar="RUN", default="", help="After --download: hold the files against what RUN packaged.")
@json_option
def models_command(wanted: str, workspace: str, model_registry: str, image: str, download: Path | None, compare: str, as_json: bool) -> int:
    from toolkit.cli.publish import _store
    from toolkit.core.publish_start import whole_store
    from toolkit.core.registered import asked_for, name_and_version

    if compare and not download:
        raise click.UsageError("--compare holds what was downloaded against a run: give --download too.")
    bench = _bench()
    place = whole_store(_store(bench, workspace, model_registry))
    if not place:
        raise click.UsageError("No workspace is set: give --workspace SUBSCRIPTION/GROUP/NAME; `edge targets` lists yours.")
    store = bench.cloud().model_registry(place)
    found = asked_for(store, wanted, image)
    if download:
        if not wanted or not found:
            raise click.UsageError("Name the model that is to be downloaded.")
        return _download(bench, store, found[0], download, compare, as_json)
    if as_json:
        emit_json(found)
    elif not found:
        say("No such models." if image else "No models yet. Register one: edge publish last")
    elif name_and_version(wanted)[1]:
        _print_all(found[0])
    else:
        _print_list(found)
    return ExitCode.OK


def _print_list(found) -> None:
    """Lines and no table: it would be wider than a terminal over SSH."""
    from toolkit.core.registered import fact, images_of, metrics_of

    for model in found:
        made_from = {"recipe": fact(model, "recipe.sha256"), "data": fact(model, "dataset.sha256")}
        told = [f"{word} {_short(digest)}" for word, digest in made_from.items() if digest]
        told += [f"image {_short(image)}" for image in images_of(model)]
        head = [f"{model.name}:{model.version}", fact(model, "device"), _day(model.created)]
        click.echo(plain("  ".join(filter(None, head))))
        for line in (*_figures(metrics_of(model)), ", ".join(told)):
            if line:
                click.echo(f"    {plain(line)}")


def _short(digest: str) -> str:
    return digest.rpartition("sha256:")[2][:12] or "-"


def _figures(metrics: dict[str, str]) -> list[str]:
    """A line for each adapter; what was measured without one is in the whole view."""
    told: dict[str, list[str]] = {}
    for name, value in metrics.items():
        adapter, _, measure = name.partition(".")
        with suppress(ValueError):  # anybody may have written properties
            if measure in WORDS:
                told.setdefault(adapter, []).append(WORDS[measure].format(float(value)))
    return [f"{adapter}: {', '.join(figures)}" for adapter, figures in told.items()]


def _day(created: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created)) if created else "-"


def _print_all(model) -> None:
    click.echo(f"{model.id}  {model.type}  {_day(model.created)}")
    if model.description:
        click.echo(model.description)
    click.echo(f"bytes: {model.path}")
    told = [("tag", name, value) for name, value in sorted(model.tags.items())]
    told += [("property", name, value) for name, value in model.properties.items() if not name.startswith("edge.recipe.text")]
    table(["", "name", "value"], told)


def _download(bench, store, model, folder: Path, compare: str, as_json: bool) -> int:
    from toolkit.core.registered import compared, content_of_run

    run, content = content_of_run(bench, compare) if compare else ("", folder)
    store.download(model, folder, _teller())
    comparison = compared(folder, content) if compare else None
    if as_json:
        emit_json({"model": model, "folder": folder, "comparison": comparison})
    else:
        say(f"{model.id} is in {folder}.")
        if comparison:
            click.echo(comparison.sentence(run))
    return ExitCode.OK if comparison is None or comparison.is_same else ExitCode.PUBLISH


def _teller():
    from toolkit.core.registered import progress_line

    told = [0]

    def tell(moved) -> None:
        tenths = 10 * moved.done // moved.total if moved.total else 10
        if tenths > told[0]:
            told[0] = tenths
            say(progress_line(moved))

    return tell
