"""check: what a recipe holds, before any long work."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import emit_json, json_option, say, table
from toolkit.cli.runs import _bench
from toolkit.errors import ExitCode

BAR = 40


@click.command("check", help="Look at RECIPE, its data and its model before any long work.")
@click.argument("recipe", type=click.Path(path_type=Path))
@json_option
@click.option(
    "--olive", is_flag=True, help="Print what the steps hand to Olive, a configuration for each; nothing is looked at or fetched."
)
def check_command(recipe: Path, as_json: bool, olive: bool) -> int:
    from toolkit.core.builds import inspect, require_room
    from toolkit.core.memory_estimate import memory_problems
    from toolkit.core.preview import plan_ahead

    bench = _bench()
    if olive:
        return _show_olive(bench, recipe)
    found = inspect(bench, recipe, say)
    ahead = plan_ahead(bench, found)
    no_room = memory_problems(found.memory)
    fatal = [*(problem for report in found.reports.values() for problem in report.fatal), *no_room]
    if as_json:
        emit_json(
            {
                "recipe": found.recipe.model_dump(mode="json"),
                "model": found.facts,
                "data": found.reports,
                "forecast_bytes": found.forecast_bytes,
                "plan": ahead,
                "ok": not fatal,
            }
        )
    else:
        _show(found, bench.settings.home, ahead)
        for problem in no_room:
            click.echo(f"error: {problem.message} {problem.hint}")
    require_room(bench.settings.home, found.forecast_bytes)
    if fatal:
        say(f"{len(fatal)} problem{'s' if len(fatal) > 1 else ''} must be solved before a run.")
        return ExitCode.BAD_INPUT
    return ExitCode.OK


def _show_olive(bench, recipe: Path) -> int:
    from toolkit.core.olive_config import OWN_PASSES, as_text
    from toolkit.core.preview import olive_of
    from toolkit.core.recipe import load

    click.echo(as_text(olive_of(bench, load(recipe))))
    say(f"One configuration for each step that runs Olive. Passes of ours, in containers/build/passes: {', '.join(OWN_PASSES)}.")
    return ExitCode.OK


def _show(found, home: Path, ahead) -> None:
    from toolkit.core.adapter_price import IN_ADVANCE
    from toolkit.core.files import as_size
    from toolkit.core.plan import carries

    facts = found.facts
    click.echo(
        f"model: {found.recipe.model.source}: {facts.architecture}, {facts.parameters / 1e6:.1f} M parameters, {facts.layers} layers, {as_size(facts.bytes)} {facts.dtype}"
    )
    for name, report in found.reports.items():
        for part in report.parts:
            _show_part(name, part)
    for adapter in found.recipe.adapters:
        if isinstance(adapter.held_out, float):
            click.echo(f"\n{adapter.name}, held-out: {adapter.held_out:.0%} of its rows, taken out of training")
    problems = [problem for report in found.reports.values() for problem in (*report.fatal, *report.warnings)]
    for problem in problems:
        click.echo(f"{'error' if problem.is_fatal else 'warning'}: {problem}")
    if not problems:
        click.echo("No broken, empty, over-long or repeated rows; no held-out prompt stands in training.")
    _show_plan(ahead)
    for device in found.devices:
        way = carries(found.recipe, device)
        click.echo(f"adapters on {device.name}: {way}: {IN_ADVANCE[way]}")
    for fit in found.memory:
        if fit.fits:  # what does not is an error
            click.echo(f"memory on {fit.sentence}")
    click.echo(f"disk: about {as_size(ahead.needed_bytes)} needed at most, {as_size(ahead.free_bytes)} free at {home}")


def _show_plan(ahead) -> None:
    from toolkit.core.files import as_duration
    from toolkit.core.forecast import STATES

    click.echo()
    rows = [(s.name, STATES[s.state], as_duration(s.seconds) if s.seconds is not None else "", s.basis) for s in ahead.steps]
    table(["step", "plan", "time", "known from"], rows, right=["time"])
    click.echo(f"plan: {ahead.summary}")
    for note in ahead.notes:
        click.echo(f"note: {note}")


def _show_part(adapter: str, part) -> None:
    click.echo(f"\n{adapter}, {part.name}: {part.rows} rows in {', '.join(str(path) for path in part.paths)}")
    if part.first:
        names = list(part.first[0])
        table(names, [[row.get(name, "") for name in names] for row in part.first])
    if part.tokens:
        lengths = part.tokens
        click.echo(f"tokens per row: {lengths.shortest} to {lengths.longest}, mean {lengths.mean:.1f}, {lengths.total} in all")
        most = max(rows for _, _, rows in lengths.bins)
        for start, end, rows in lengths.bins:
            click.echo(f"  {start:>5}-{end:<5} {'#' * round(BAR * rows / most):<{BAR}} {rows}")
