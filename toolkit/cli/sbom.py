"""sbom: what a packaged image is made of."""

from __future__ import annotations

import click

from toolkit.cli.output import emit_json
from toolkit.cli.runs import _bench


@click.command(
    "sbom", help="Print what IMAGE (an image, or a run that packaged one) is made of: CycloneDX JSON, every file with its origin."
)
@click.argument("image")
def sbom_command(image: str) -> None:
    from toolkit.core.sbom import bill_of_materials
    from toolkit.core.targets import find_layout

    emit_json(bill_of_materials(find_layout(_bench(), image)))
