"""layers, export, remove: what one packaged image is made of, as a file for a device without network, and away with it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from toolkit.cli.output import emit_json, json_option, say, table
from toolkit.cli.runs import _bench, _follow, _started


@click.command("layers", help="Show the layers of IMAGE by size, what changed since the one before it, and what a device would pull.")
@click.argument("image")
@click.option("--since", default="", help="Compare with this image; default: the last of the same recipe and device before it.")
@json_option
def layers_command(image: str, since: str, as_json: bool) -> None:
    from toolkit.core.image_card import card
    from toolkit.core.stock import stock

    bench = _bench()
    known = stock(bench)
    item, earlier = _found(known, image), _found(known, since) if since else None
    told = card(bench, known, item, earlier)
    if as_json:
        emit_json(told)
        return
    _print_layers(told)
    say(_changes(told))


def _found(known, name: str):
    from toolkit.errors import PublishError

    item = known.find(name)
    if item is None:
        raise known.problem or PublishError(
            f"There is no packaged image '{name}'.", "`edge images` lists them; `edge package RUN` makes one."
        )
    return item


def _print_layers(told) -> None:
    from toolkit.core.files import as_size
    from toolkit.core.image_layers import signs

    marks = signs(told.comparison) if told.comparison else {}
    rows = [(layer.name, as_size(layer.bytes), layer.short or "-", marks.get(layer.diff_id, "")) for layer in told.layers]
    table(["layer", "size", "id", "since"], rows, right=["size"])


def _changes(told) -> str:
    from toolkit.core.image_layers import in_words

    total = f"{told.item.reference}: {len(told.layers)} layers"
    return f"{total}\n{in_words(told.comparison, told.pulled_packed)}" if told.comparison else f"{total}; no earlier image to compare with."


@click.command("export", help="Save IMAGE as one file for a device without network; there: docker load -i FILE.")
@click.argument("image")
@click.option("--output", "-o", help="File to write, or a folder.")
@click.option(
    "--since", default="", help="Only what a device lacks that has this one: an image, a run, or a file that was exported earlier."
)
@click.option("--plan", "is_plan", is_flag=True, help="Only say what the file would hold, and its size.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option("--detach", "-d", is_flag=True, help="Start it and return.")
@json_option
def export_command(image: str, output: str | None, since: str, is_plan: bool, overwrite: bool, detach: bool, as_json: bool) -> int:
    from toolkit.core.exporting import file_for
    from toolkit.core.files import as_size, free_bytes
    from toolkit.core.targets import start_export

    bench = _bench()
    if is_plan:
        return _print_export_plan(bench, image, since, as_json)
    if not output:
        raise click.UsageError("Missing option '--output' / '-o': the file to write, or a folder. With --plan none is needed.")
    file = file_for(image, output, Path.cwd(), since)
    run = start_export(bench, image, file, overwrite, since)
    size = run.request["steps"][0]["options"]["bytes"]
    say(f"Writing {file}, {as_size(size)}; {as_size(free_bytes(file.parent))} are free there.")
    if detach:
        return _started(run, as_json)
    code = _follow(bench, run, as_json)
    if code == 0 and not as_json:
        archive = next(a for a in run.state().artifacts if a.kind == "archive")
        where = f"On a device that has {run.request['steps'][0]['options']['since']}" if since else "On the device"
        say(f"sha256 {archive.sha256}\n{where}: docker load -i {Path(archive.path).name}")
        click.echo(archive.path)
    return code


def _print_export_plan(bench, image: str, since: str, as_json: bool) -> int:
    from toolkit.core.files import as_size
    from toolkit.core.targets import plan_export

    planned = plan_export(bench, image, since)
    if as_json:
        emit_json(planned)
        return 0
    rows = [(layer.name, as_size(layer.size), "on the device") for layer in planned.left_out]
    rows += [(layer.name, as_size(layer.size), "in the file") for layer in planned.held]
    table(["layer", "size", "where"], rows, right=["size"])
    say(
        f"The file takes {as_size(planned.bytes)}."
        + ("" if planned.source.layout else " About: its size is known once the engine gave it.")
    )
    return 0


@click.command("remove", help="Remove IMAGE from the engine, with all its names; says what is lost, and asks.")
@click.argument("image")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_command(image: str, yes: bool) -> None:
    from toolkit.core.files import as_size
    from toolkit.core.stock import removal, remove, stock

    bench = _bench()
    planned = removal(bench, stock(bench), image)
    say(planned.consequence)
    question = f"Remove {planned.item.reference} ({as_size(planned.freed)} become free)?"
    if not yes and not (sys.stdin.isatty() and click.confirm(question, err=True)):
        say(f"Nothing removed. {question} Then say --yes.")
        return
    remove(bench, planned.item)
    say(f"Removed {planned.item.reference}.")
