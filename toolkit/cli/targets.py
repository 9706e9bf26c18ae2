"""targets."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from toolkit.cli.output import emit_json, json_option, plain, say
from toolkit.core.cloud import Targets, is_cloud_registry


@click.command("targets", help="List workspaces and registries that your Azure account sees; choose what publishing goes to.")
@click.option("--workspace", default=None, metavar="SUBSCRIPTION/GROUP/NAME", help="Register models there from now on.")
@click.option("--registry", default=None, metavar="HOST[/PREFIX]", help="Push images there from now on; any registry, not only Azure's.")
@click.option("--forget", is_flag=True, help="Forget both.")
@json_option
def targets_command(workspace: str | None, registry: str | None, forget: bool, as_json: bool) -> None:
    from toolkit.wiring import make_workbench

    if forget or workspace is not None or registry is not None:
        _choose(workspace, registry, forget)
        return
    bench = make_workbench()
    chosen = {"workspace": bench.settings.workspace, "registry": bench.settings.registry}
    cloud = bench.cloud()
    if sys.stderr.isatty():
        say("Asking Azure ...")
    found = cloud.targets()
    if as_json:
        emit_json({"chosen": chosen, "targets": found})
        return
    _print(found, chosen)
    for problem in (*found.problems, *_unseen(found, chosen)):
        say(f"warning: {problem}")
    say("Choose by: edge targets --workspace SUBSCRIPTION/GROUP/NAME --registry HOST[/PREFIX]")


def _print(found: Targets, chosen: dict[str, str]) -> None:
    """A line of its own for what is copied: ids are long."""
    if found.workspaces:
        click.echo("Workspaces")
    for one in found.workspaces:
        click.echo(f"{_mark(one.id.lower() == chosen['workspace'].lower())} {plain(one.id)}")
        told = [one.location, one.registry and f"registry {one.registry}", one.storage and f"storage {one.storage}"]
        click.echo(f"    {plain(', '.join(filter(None, told)))}")
    if found.registries:
        click.echo("Registries")
    host = _host(chosen["registry"])
    for one in found.registries:
        click.echo(f"{_mark(one.login_server.lower() == host)} {plain(one.login_server)}")
        click.echo(f"    {plain(', '.join(filter(None, [one.location, f'resource group {one.group}'])))}")
    if not (found.workspaces or found.registries):
        say("No Azure ML workspaces and no container registries.")


def _unseen(found: Targets, chosen: dict[str, str]) -> Iterator[str]:
    """What was chosen and is not there, for this account."""
    if chosen["workspace"] and chosen["workspace"].lower() not in {one.id.lower() for one in found.workspaces}:
        yield f"the chosen workspace {chosen['workspace']} is not among those that this account sees"
    host = _host(chosen["registry"])
    if is_cloud_registry(host) and host not in {one.login_server.lower() for one in found.registries}:
        yield f"the chosen registry {host} is not among those that this account sees"


def _host(registry: str) -> str:
    return registry.partition("/")[0].lower()


def _choose(workspace: str | None, registry: str | None, forget: bool) -> None:
    from toolkit.core import reference
    from toolkit.core.choices import remember
    from toolkit.core.cloud import parse_workspace

    if workspace:
        workspace = parse_workspace(workspace).id
    if registry:
        reference.parse(f"{registry.rstrip('/')}/any")
    wanted = {"workspace": "" if forget else workspace, "registry": "" if forget else registry and registry.rstrip("/")}
    for key, value in wanted.items():
        if value is not None:
            file = remember(key, value)
            say(f"{key}: {value or 'forgotten'} ({file})")
    if not forget:
        say("`edge targets` looks whether your account sees it.")


def _mark(is_chosen: bool) -> str:
    return "*" if is_chosen else " "
