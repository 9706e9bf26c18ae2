"""A run in a few lines: how it stands, what can be done with it, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.core.files import as_duration
from toolkit.core.listing import Row
from toolkit.core.possible import why_not_chat, why_not_delete, why_not_package, why_not_publish, why_not_resume, why_not_stop
from toolkit.tui.harmless import harmless_line


def about(row: Row, rows: Sequence[Row]) -> str:
    """`rows`: all runs, oldest first."""
    problem = f"! {row.problem}" if row.problem else ""
    lines = (f"{row.id}: {_standing(row)}", possible_keys(row, rows), problem, row.hint)
    return "\n".join(harmless_line(line) for line in lines if line)


def _standing(row: Row) -> str:
    parts = [row.status]
    if row.step:
        parts[0] = f"{row.status} {row.step}"
    if row.status == "running" and row.share is not None:
        parts.append(f"{row.share:.0%} done")
    if row.status == "running" and row.eta_seconds is not None and not row.is_eta_whole:
        parts.append("time left (+): of this step, later ones are unknown")
    if row.seconds and row.status != "unreadable":
        parts.append(f"worked for {as_duration(row.seconds)}")
    if row.image:
        parts.append(row.image)
    return ", ".join(parts)


def possible_keys(row: Row, rows: Sequence[Row]) -> str:
    """The keys that do something with this run now."""
    keys = {
        "Enter open": row.status == "unreadable",
        "s stop": why_not_stop(row),
        "r resume": why_not_resume(row),
        "p package": why_not_package(row),
        "c chat": why_not_chat(row, rows),
        "u publish": why_not_publish(row, rows),
        "d delete": why_not_delete(row),
    }
    possible = [key for key, why_not in keys.items() if not why_not]
    return f"Now: {', '.join(possible)}" if possible else ""
