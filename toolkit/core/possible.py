"""What can be done with a run as it is now; where it cannot, why, in a sentence for people."""

from __future__ import annotations

from collections.abc import Iterable

from toolkit.core.listing import Row

WAITING = ("failed", "stopped", "interrupted")
"""States that a run can be resumed from."""


def why_not_resume(row: Row) -> str:
    """Why this run cannot be resumed; empty: it can. So too for the others."""
    if row.status == "finished":
        return "It has finished; there is nothing to resume."
    if row.is_under_way:
        return "It is under way."
    return "" if row.status in WAITING else row.problem


def why_not_stop(row: Row) -> str:
    return "" if row.is_under_way else f"It is not running; it is {row.status}."


def why_not_delete(row: Row) -> str:
    if row.is_under_way:
        return "It is under way: stop it first."
    return "" if row.status != "unreadable" else f"It cannot be read, so nobody knows whether something still drives it. {row.problem}"


def why_not_package(row: Row) -> str:
    if row.kind != "build":
        return f"It is a {row.kind} run; builds are packaged."
    if row.is_comparison:
        return "It is a comparison; there is nothing in it to package."
    return "" if row.status == "finished" else f"Its build is {row.status}; only a finished one can be packaged."


def why_not_chat(row: Row, rows: Iterable[Row]) -> str:
    return "" if package_of(row, rows) else _unpackaged(row)


def why_not_publish(row: Row, rows: Iterable[Row]) -> str:
    if image_of(row, rows):
        return ""
    return "It is packaged as a local folder; only images are published." if package_of(row, rows) else _unpackaged(row)


def _unpackaged(row: Row) -> str:
    if row.kind != "build":
        return "There is no finished package in it."
    return (
        f"Its build is {row.status}; finish and package it first."
        if row.status != "finished"
        else "It is not packaged yet: package it first."
    )


def package_of(row: Row, rows: Iterable[Row]) -> Row | None:
    """The finished packaging that the run is or has: of a build the newest."""
    if row.kind == "package":
        return row if row.status == "finished" else None
    fitting = [other for other in rows if other.kind == "package" and other.status == "finished" and other.build == row.id]
    return fitting[-1] if row.kind == "build" and fitting else None


def image_of(row: Row, rows: Iterable[Row]) -> str:
    """The image that the run made, has, or pushes; empty: none."""
    if row.kind in ("publish", "export"):
        return row.image
    package = package_of(row, rows)
    return package.image if package else ""
