"""run, runs, show, attach, stop, resume, delete."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from toolkit.cli.output import emit_json, json_option, say, table
from toolkit.errors import ExitCode
from toolkit.settings import FLAVOURS

engine_option = click.option(
    "--engine", type=click.Choice(["auto", "docker", "local"]), default=None, help="Who drives the build; default: the settings, then auto."
)

flavour_option = click.option(
    "--flavour",
    type=click.Choice(FLAVOURS),
    default=None,
    help="What it computes with; default: the settings, then what fits this machine.",
)


def _bench(engine: str | None = None, flavour: str | None = None):
    from toolkit.wiring import make_workbench

    return make_workbench(engine=engine or "", flavour=flavour or "")


@click.command("run", help="Build what RECIPE says: quantize, fine-tune, export, evaluate. Ctrl-C detaches.")
@click.argument("recipe", type=click.Path(path_type=Path))
@engine_option
@flavour_option
@click.option("--detach", "-d", is_flag=True, help="Start it and return; follow it later with `edge attach`.")
@click.option(
    "--compare",
    metavar="CHOICES",
    default=None,
    help="Instead of building, set quantizers and precisions side by side, untrained: awq,gptq,rtn,none,int8; rtn@64 has groups of 64, "
    "awq+down_proj keeps a part in 8 bits.",
)
@json_option
def run_command(recipe: Path, engine: str | None, flavour: str | None, detach: bool, compare: str | None, as_json: bool) -> int:
    from toolkit.core.builds import prepare, start_build
    from toolkit.core.comparing import start_comparison
    from toolkit.core.guardian import before_a_run

    bench = _bench(engine, flavour)
    prepared = prepare(bench, recipe, say)
    for problem in prepared.warnings:
        say(f"warning: {problem}")
    for warning in before_a_run(bench):
        say(f"warning: {warning}")
    run = start_build(bench, prepared, say) if compare is None else start_comparison(bench, prepared, compare, say)
    return _started(run, as_json) if detach else _follow(bench, run, as_json)


def _started(run, as_json: bool) -> int:
    """What `--detach` prints: the run's id, or its state as JSON."""
    emit_json({"run": run.id, "status": run.state().status}) if as_json else click.echo(run.id)
    return 0


def _follow(bench, run, as_json: bool = False) -> int:
    from toolkit.cli.comparison import show_comparison
    from toolkit.cli.follow import follow

    code = follow(bench, run, as_json)
    if code == ExitCode.OK and not as_json and run.kind == "build":
        show_comparison(run, run.state())
    return code


@click.command("runs", help="List the runs, the newest last.")
@json_option
def runs_command(as_json: bool) -> None:
    from toolkit.core.listing import listed

    rows = listed(_bench())
    if as_json:
        emit_json(rows)
        return
    if not rows:
        say("No runs yet. Start one: edge run data/recipes/travel.toml")
        return
    cells = [(r.id, r.kind, r.status, r.progress, r.age, r.problem) for r in rows]
    table(["run", "kind", "state", "steps", "age", "problem"], cells)


@click.command(
    "show",
    help="Show RUN (an id, a number, or `last`): steps, sizes, measurements, problems. A digest (of an image, a manifest, a model's "
    "content) or azureml:NAME:VERSION shows the run that made it, and what that run stands on.",
)
@click.argument("run")
@json_option
def show_command(run: str, as_json: bool) -> None:
    from toolkit.cli.comparison import show_comparison
    from toolkit.core.adapter_price import prices
    from toolkit.core.digests import is_digest
    from toolkit.core.files import as_duration, as_size
    from toolkit.core.listing import details, state_of

    bench = _bench()
    found, told = _traced(bench, run) if is_digest(run) else (bench.run(run), {})
    state = state_of(bench, found)
    if as_json:
        emit_json({**details(found, state), **told})
        return
    for line in told.get("lineage", ()):
        click.echo(line)
    click.echo(f"{found.id}  {found.kind}  {state.status}" + (f"  requested {state.requests} times" if state.requests > 1 else ""))
    if state.problem:
        click.echo(f"problem: {state.problem}" + (f"\n  {state.hint}" if state.hint else ""))
    sizes = {artifact.step: as_size(artifact.bytes) for artifact in state.artifacts}
    rows = [
        (s.name, "done (cached)" if s.cached else s.status, as_duration(s.seconds), sizes.get(s.name, ""), _metrics(s.metrics))
        for s in state.steps.values()
    ]
    table(["step", "state", "time", "size", "measured"], rows, right=["time", "size"])
    for price in prices(found.request["steps"], state):
        click.echo(f"adapter {price}")
    show_comparison(found, state)
    for made in state.artifacts:
        if made.kind in ("release", "registered"):
            click.echo(f"{made.kind}: {made.path}")
    click.echo(f"folder: {found.folder}")


def _traced(bench, wanted: str):
    """The run that a digest leads to, and lines about how."""
    from toolkit.core.digests import sources_of, traces_of

    traces = traces_of(bench, wanted)
    first = traces[0]
    lines = [f"{wanted}: {first.what}, {'made' if first.made else 'taken'} by {first.run.id}"]
    lines += [f"  it stands on {run.id}" for run in sources_of(bench, first.run)[1:]]
    lines += [f"  {trace.what} in {trace.run.id}" for trace in traces[1:]]
    return first.run, {"wanted": wanted, "lineage": lines}


def _metrics(metrics: dict[str, float]) -> str:
    from toolkit.core.wording import TOLD

    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name.endswith(TOLD))


@click.command("attach", help="Follow RUN from its first event, now or a week later. Ctrl-C detaches; the run goes on.")
@click.argument("run")
@json_option
def attach_command(run: str, as_json: bool) -> int:
    bench = _bench()
    return _follow(bench, bench.run(run), as_json)


@click.command("stop", help="End RUN, which is under way; it can be resumed.")
@click.argument("run")
def stop_command(run: str) -> None:
    from toolkit.core import lifecycle

    bench = _bench()
    found = bench.run(run)
    lifecycle.stop(bench.engine_of(found), found)
    say(f"Stopped {found.id}. Go on with: edge resume {found.id}")


@click.command("resume", help="Go on with RUN where it failed, was stopped or interrupted; finished steps are kept.")
@click.argument("run")
@click.option("--detach", "-d", is_flag=True, help="Start it and return.")
@click.option("--password-stdin", is_flag=True, help="For a publishing run: read the registry's password from standard input.")
@json_option
def resume_command(run: str, detach: bool, password_stdin: bool, as_json: bool) -> int:
    from toolkit.core import lifecycle

    bench = _bench()
    found = bench.run(run)
    engine = bench.engine_of(found)
    if found.kind == "publish":
        from toolkit.cli.secrets import registry_secrets

        options = found.request["steps"][0]["options"]
        engine = bench.host_driver(registry_secrets(options["target"], options["username"], password_stdin))
    lifecycle.resume(engine, found)
    return _started(found, as_json) if detach else _follow(bench, found, as_json)


@click.command("delete", help="Delete RUN, which nobody drives, and its folder. The cache and packaged images stay.")
@click.argument("run")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete_command(run: str, yes: bool) -> int:
    from toolkit.core import lifecycle
    from toolkit.core.files import as_size, freed_bytes

    bench = _bench()
    found = bench.run(run)
    engine = bench.engine_of(found)
    question = f"Delete {found.id} ({as_size(freed_bytes([found.folder]))})?"
    if not yes and not (sys.stdin.isatty() and click.confirm(question, err=True)):
        say(f"Nothing deleted. {question} Then say --yes.")
        return ExitCode.FAILED
    lifecycle.remove(engine, found)
    say(f"Deleted {found.id}.")
    return ExitCode.OK
