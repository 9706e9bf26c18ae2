"""The table of a comparison."""

from __future__ import annotations

import click

from toolkit.cli.output import table


def show_comparison(run, state) -> bool:
    """Print what the choices came to; False where the run is no comparison, or nothing is weighed yet."""
    from toolkit.core.compare import note_of, texts_of, weighed
    from toolkit.core.files import as_size

    rows = weighed({step["name"]: step for step in run.request["steps"]}, state)
    if not rows:
        return False
    texts = texts_of(rows)
    cells = [
        (
            row.choice,
            as_size(row.bytes) if row.bytes else "",
            *(f"{row.perplexity[text]:.3f}" if text in row.perplexity else "" for text in texts),
            f"{row.tokens_per_second:.1f}" if row.tokens_per_second else "",
        )
        for row in rows
    ]
    headings = ["choice", "size", *texts, "tokens/s"]
    click.echo("Perplexity on held-out text, lower is better:")
    table(headings, cells, right=headings[1:])
    if note := note_of(run.request["recipe"]):
        click.echo(f"note: {note}")
    return True
