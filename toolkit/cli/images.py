"""package, images, push."""

from __future__ import annotations

import sys

import click

from toolkit.cli.output import emit_json, json_option, say, table
from toolkit.cli.runs import _bench, _follow, _started, engine_option


@click.command("package", help="Make the image of RUN, a finished build, for a device, and prove that it answers.")
@click.argument("run")
@click.option("--device", default="cpu", show_default=True, help="A device of data/devices.")
@engine_option
@click.option(
    "--memory", "memory_mb", type=click.IntRange(64), default=None, help="Memory limit of the proof in MB; default: the device's."
)
@click.option("--detach", "-d", is_flag=True, help="Start it and return.")
@json_option
def package_command(run: str, device: str, engine: str | None, memory_mb: int | None, detach: bool, as_json: bool) -> int:
    from toolkit.core.targets import start_package
    from toolkit.core.untried import told_by

    bench = _bench(engine)
    started = start_package(bench, bench.run(run), device, memory_mb or 0)
    if detach:
        return _started(started, as_json)
    code = _follow(bench, started, as_json)
    if code == 0 and not as_json:
        options = started.request["steps"][0]["options"]
        if untried := told_by(started):
            say(f"It was {untried}.")
        name = options["tag"] if options["engine"] == "docker" else started.id
        say(f"Chat with it: edge chat {name}")
        if options["engine"] == "docker":
            say(f"Push it:      edge push {name} --registry HOST/REPOSITORY")
            say(f"As a file:    edge export {name} -o FILE")
    return code


@click.command("images", help="List the packaged images.")
@json_option
def images_command(as_json: bool) -> None:
    from toolkit.core.files import as_size
    from toolkit.core.targets import packaged

    rows = packaged(_bench())
    if as_json:
        emit_json(rows)
        return
    if not rows:
        say("No images yet. Make one: edge package last")
        return
    cells = [(r.reference, _device_of(r), r.recipe, r.adapters or "-", as_size(r.bytes), _made_by(r), r.identity[:19]) for r in rows]
    table(["image", "device", "recipe", "adapters", "size", "build", "id"], cells, right=["size"])


def _device_of(row) -> str:
    return f"{row.device} (not tried)" if row.untried else row.device


def _made_by(row) -> str:
    return f"{row.run} (another home)" if row.is_strange else row.run


@click.command(
    "push", help="Push IMAGE (an image, or a run that was packaged) to a registry; only missing layers move, and the digest is read back."
)
@click.argument("image")
@click.option("--registry", required=True, help="HOST/REPOSITORY[:TAG].")
@click.option("--username", default="", help="User of the registry; default: EDGE_REGISTRY_USERNAME.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; default: EDGE_REGISTRY_PASSWORD, or a prompt.")
@click.option("--plan", "is_plan", is_flag=True, help="Only say what would move: layers present, missing, bytes.")
@click.option("--detach", "-d", is_flag=True, help="Start it and return.")
@json_option
def push_command(image: str, registry: str, username: str, password_stdin: bool, is_plan: bool, detach: bool, as_json: bool) -> int:
    from toolkit.cli.secrets import registry_credentials
    from toolkit.core.registry_access import as_secrets
    from toolkit.core.targets import start_publish

    bench = _bench()
    credentials = registry_credentials(username, password_stdin)
    if is_plan:
        return _print_plan(bench, image, registry, credentials, as_json)
    started = start_publish(bench, image, registry, username, as_secrets(credentials))
    if detach:
        return _started(started, as_json)
    code = _follow(bench, started, as_json)
    if code == 0 and not as_json:
        release = next(a for a in started.state().artifacts if a.kind == "release")
        click.echo(release.path)
    sys.stdout.flush()
    return code


def _print_plan(bench, image: str, registry: str, credentials, as_json: bool) -> int:
    from toolkit.core.files import as_size
    from toolkit.core.publish_plan import in_words, make_plan

    plan = make_plan(bench, image, registry, credentials)
    if as_json:
        emit_json(plan)
        return 0
    rows = [(p.layer.name, as_size(p.layer.bytes), as_size(p.packed) if p.packed is not None else "-", p.status) for p in plan.layers]
    table(["layer", "unpacked", "packed", "in the registry"], rows, right=["unpacked", "packed"])
    say(in_words(plan))
    return 0
