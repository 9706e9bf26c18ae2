"""package, images."""

from __future__ import annotations

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
