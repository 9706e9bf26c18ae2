"""manifest: a packaged image as a file that a device runs it by."""

from __future__ import annotations

from pathlib import Path

import click

from toolkit.cli.output import say
from toolkit.cli.runs import _bench


@click.command(
    "manifest", help="Print the file by which a device runs IMAGE, hardened and limited as here: Compose, Quadlet or Kubernetes."
)
@click.argument("image")
@click.option("--as", "form", type=click.Choice(["compose", "quadlet", "k8s"]), required=True, help="What runs containers on the device.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="On the device; loopback, or the k8s service's."
)
@click.option("--api-key", "has_key", is_flag=True, help="Clients must bring a key, which a secret on the device holds.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write this file instead; it must not be there yet.")
def manifest_command(image: str, form: str, port: int, has_key: bool, output: Path | None) -> None:
    from toolkit.core.files import write_text
    from toolkit.core.manifest import FORMS, service_of
    from toolkit.core.targets import find_image
    from toolkit.errors import PublishError

    if output and output.exists():
        raise PublishError(f"{output} is there already.", "Choose another name.")
    bench = _bench()
    service = service_of(bench, *find_image(bench, image), port, has_key)
    text = FORMS[form](service)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        say(f"{output}: its first lines say what to do with it.")
    if not service.is_pinned:
        say(f"{service.image} was not pushed from here; the file names it by its tag. `edge push`, then make it again, pins its digest.")
