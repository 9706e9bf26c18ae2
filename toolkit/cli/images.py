"""package, images, chat, push."""

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

    bench = _bench(engine)
    started = start_package(bench, bench.run(run), device, memory_mb or 0)
    if detach:
        return _started(started, as_json)
    code = _follow(bench, started, as_json)
    if code == 0 and not as_json:
        options = started.request["steps"][0]["options"]
        name = options["tag"] if options["engine"] == "docker" else started.id
        say(f"Chat with it: edge chat {name}")
        if options["engine"] == "docker":
            say(f"Push it:      edge push {name} --registry HOST/REPOSITORY")
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
    cells = [(r.reference, r.device, r.recipe, r.adapters or "-", as_size(r.bytes), r.run, r.identity[:19]) for r in rows]
    table(["image", "device", "recipe", "adapters", "size", "build", "id"], cells, right=["size"])


@click.command("chat", help="Talk with IMAGE: a packaged image, or a run that was packaged.")
@click.argument("image")
@click.option("--adapter", default="", help="Adapter to answer with; default: the base.")
@click.option("--prompt", "prompts", multiple=True, help="Ask this and leave; give it again for the next turn.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True, help="0 is greedy.")
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Choose among the likeliest tokens that make up this share.",
)
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="Longest answer.")
@click.option("--seed", type=int, default=None, help="The same seed gives the same answer.")
@click.option("--memory", "memory_mb", type=click.IntRange(64), default=None, help="Memory limit in MB; default: the device's.")
@json_option
def chat_command(
    image: str,
    adapter: str,
    prompts: tuple[str, ...],
    temperature: float,
    top_p: float,
    max_tokens: int,
    seed: int | None,
    memory_mb: int | None,
    as_json: bool,
) -> None:
    from toolkit.cli.talk import talk, talk_once
    from toolkit.core.chat import Sampling, serving
    from toolkit.core.targets import chat_target

    target = chat_target(_bench(), image)
    sampling = Sampling(temperature, top_p, max_tokens, seed)
    say(f"Starting {target.name} ...")
    with serving(target.host, target.name, memory_mb or target.memory_mb, target.cpus) as conversation:
        target.check_adapter(adapter, conversation.models())
        if prompts:
            talk_once(conversation, prompts, adapter, sampling, as_json)
        else:
            talk(conversation, adapter, sampling)


@click.command(
    "push", help="Push IMAGE (an image, or a run that was packaged) to a registry; only missing layers move, and the digest is read back."
)
@click.argument("image")
@click.option("--registry", required=True, help="HOST/REPOSITORY[:TAG].")
@click.option("--username", default="", help="User of the registry; default: EDGE_REGISTRY_USERNAME.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; default: EDGE_REGISTRY_PASSWORD, or a prompt.")
@click.option("--detach", "-d", is_flag=True, help="Start it and return.")
@json_option
def push_command(image: str, registry: str, username: str, password_stdin: bool, detach: bool, as_json: bool) -> int:
    from toolkit.cli.secrets import registry_secrets
    from toolkit.core.targets import start_publish

    bench = _bench()
    secrets = registry_secrets(username, password_stdin)
    started = start_publish(bench, image, registry, username, secrets)
    if detach:
        return _started(started, as_json)
    code = _follow(bench, started, as_json)
    if code == 0 and not as_json:
        release = next(a for a in started.state().artifacts if a.kind == "release")
        click.echo(release.path)
    sys.stdout.flush()
    return code
