"""serve: a packaged image on a port of loopback, for clients of its HTTP interface."""

from __future__ import annotations

import time

import click

from toolkit.cli.output import say
from toolkit.cli.runs import _bench

POLL_SECONDS = 0.5


@click.command("serve", help="Serve IMAGE on a port of 127.0.0.1 until Ctrl-C; its interface is OpenAI's chat completions.")
@click.argument("image")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--memory", "memory_mb", type=click.IntRange(64), default=None, help="Memory limit in MB; default: the device's.")
def serve_command(image: str, port: int, memory_mb: int | None) -> None:
    from toolkit.core.serving import Limits
    from toolkit.core.targets import chat_target

    target = chat_target(_bench(), image)
    with target.serving(Limits(memory_mb or target.limits.memory_mb, target.limits.cpus), port) as served:
        click.echo(f"http://127.0.0.1:{port}/v1")
        say(f"Models: {', '.join(served.conversation().models())}. Ctrl-C ends it.")
        try:
            while served.is_served:
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            say("Ended.")
            return
        raise served.why_it_ended()
