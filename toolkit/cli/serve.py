"""serve: a packaged image on a port of loopback, for clients of its HTTP interface."""

from __future__ import annotations

import time

import click

from toolkit.cli.output import say
from toolkit.cli.runs import _bench
from toolkit.errors import ChatError

POLL_SECONDS = 0.5


@click.command("serve", help="Serve IMAGE on a port of 127.0.0.1 until Ctrl-C; its interface is OpenAI's chat completions.")
@click.argument("image")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--memory", "memory_mb", type=click.IntRange(64), default=None, help="Memory limit in MB; default: the device's.")
def serve_command(image: str, port: int, memory_mb: int | None) -> None:
    from toolkit.core.chat import serving
    from toolkit.core.targets import chat_target

    target = chat_target(_bench(), image)
    with serving(target.host, target.name, memory_mb or target.memory_mb, target.cpus, port) as conversation:
        click.echo(f"http://127.0.0.1:{port}/v1")
        say(f"Models: {', '.join(conversation.models())}. Ctrl-C ends it.")
        try:
            while conversation.is_served:
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            say("Ended.")
            return
        raise ChatError(f"The server ended: {conversation.last_words}", "Start it again; a memory limit may be too small.")
