"""doctor and clean."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from textwrap import fill

import click

from toolkit.cli.output import emit_json, json_option, plain, say, table
from toolkit.cli.runs import _bench
from toolkit.core.finding import Finding
from toolkit.errors import ExitCode


@click.command("doctor", help="Say what this machine lacks, and the fix.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the findings to this file too.")
@json_option
def doctor_command(report_file: Path | None, as_json: bool) -> int:
    from toolkit.core.doctor import examine, in_order, report
    from toolkit.core.files import write_text

    bench = _bench()
    findings = in_order(examine(bench))
    if report_file:
        write_text(report_file, report(findings, bench.clock()))
    if as_json:
        emit_json(findings)
    elif sys.stdout.isatty():
        for finding in findings:
            click.echo(wrapped(finding, shutil.get_terminal_size().columns))
    else:
        table(["subject", "level", "seen", "fix"], [(f.subject, f.level, f.seen, f.fix) for f in findings])
    return ExitCode.FAILED if any(finding.level == "problem" for finding in findings) else ExitCode.OK


SUBJECT_AT, SEEN_AT = 9, 28
"""Columns where the subject and what was seen begin in a terminal."""


def wrapped(finding: Finding, width: int) -> str:
    """A finding for a terminal of this width: long lines hang under their beginning, the fix under what was seen."""
    head = f"{finding.level:<{SUBJECT_AT}}{finding.subject:<{SEEN_AT - SUBJECT_AT}}"
    texts = [finding.seen, *([f"fix: {finding.fix}"] if finding.fix else [])]
    indent = " " * SEEN_AT
    room = max(width, SEEN_AT + 20)
    lines = [fill(plain(text), room, initial_indent=indent, subsequent_indent=indent, break_long_words=False) for text in texts]
    return head + "\n".join(lines)[SEEN_AT:]


@click.command("clean", help="Show what takes room, and remove the kinds you name. Only what is ours is ever touched.")
@click.option("--containers", is_flag=True, help="Ended build and chat containers.")
@click.option("--images", is_flag=True, help="Packaged images.")
@click.option("--runtimes", is_flag=True, help="The build and runtime images we made.")
@click.option("--runs", is_flag=True, help="Folders of runs that nobody drives.")
@click.option("--cache", is_flag=True, help="Results of earlier steps, and wheels.")
@click.option("--models", is_flag=True, help="Base models whose fetching was cut short; without this they are fetched on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def clean_command(yes: bool, as_json: bool, **chosen: bool) -> None:
    from toolkit.core.cleaning import survey
    from toolkit.core.files import as_size

    found = survey(_bench())
    named = [litter for litter in found if chosen[litter.kind]]
    if as_json:
        emit_json([{"kind": x.kind, "items": x.items, "bytes": x.bytes, "chosen": chosen[x.kind]} for x in found])
    else:
        rows = [(f"--{x.kind}", str(len(x.items)), as_size(x.bytes) if x.bytes else "-", ", ".join(x.items)[:80]) for x in found]
        table(["remove with", "count", "size", "what"], rows, right=["count", "size"])
    if not named:
        return
    question = f"Remove {', '.join(_counted(litter) for litter in named)}?"
    if not yes and not (sys.stdin.isatty() and click.confirm(question, err=True)):
        say(f"Nothing removed. {question} Then say --yes.")
        return
    for litter in named:
        litter.remove()
        say(f"Removed {_counted(litter)}.")


def _counted(litter) -> str:
    return f"{litter.kind} ({len(litter.items)})"
