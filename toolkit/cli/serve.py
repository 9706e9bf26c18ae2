"""serve: a packaged image on a port of loopback, for clients of its HTTP interface."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from toolkit.cli.output import say
from toolkit.cli.runs import _bench

POLL_SECONDS = 0.5


@click.command("serve", help="Serve IMAGE on a port of 127.0.0.1 until Ctrl-C, to clients of OpenAI's interface.")
@click.argument("image")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--memory", "memory_mb", type=click.IntRange(64), default=None, help="Memory limit in MB; default: the device's.")
@click.option(
    "--api-key-file",
    envvar="EDGE_API_KEY_FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Answer only those who bring the key in this file, or in EDGE_API_KEY.",
)
def serve_command(image: str, port: int, memory_mb: int | None, api_key_file: Path | None) -> None:
    from toolkit.core.serving import Limits
    from toolkit.core.targets import chat_target

    api_key = _api_key(api_key_file)
    target = chat_target(_bench(), image)
    with target.serving(Limits(memory_mb or target.limits.memory_mb, target.limits.cpus), port, api_key) as served:
        try:
            click.echo(f"http://127.0.0.1:{port}/v1")
            say(f"Models: {', '.join(served.conversation().models())}, on {served.provider().upper()}. {_who(api_key)} Ctrl-C ends it.")
            while served.is_served:
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            say("Ended.")
            return
        raise served.why_it_ended()


def _api_key(file: Path | None) -> str:
    """Never an argument: anybody on the machine may read those."""
    if file is None:
        return os.environ.get("EDGE_API_KEY", "").strip()
    key = file.read_text("utf-8").strip()
    if not key:
        raise click.UsageError(f"There is no key in {file}.")
    return key


def _who(api_key: str) -> str:
    return "It asks for the key." if api_key else "Everybody on this machine may use it; EDGE_API_KEY sets a key."
