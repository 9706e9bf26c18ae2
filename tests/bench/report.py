"""Findings on the terminal and in BENCHMARKS.md, each section between its own markers."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.measure import BUSY_LOAD, Finding, machine


def block(title: str, findings: Sequence[Finding], load: float, seconds: float) -> str:
    """One section as Markdown."""
    busy = " The machine was busy with other work: times are upper bounds." if load > BUSY_LOAD else ""
    taken = f"{time.strftime('%Y-%m-%d %H:%M')}, {machine()}, load {load:.1f} before, {seconds:.0f} s in all.{busy}"
    rows = [f"| {f.what} | {f.goal or '-'} | {f.reached} | {_verdict(f)} | {f.how} |" for f in findings]
    return "\n".join([f"### {title}", "", taken, "", "| what | goal | reached | met | how |", "|---|---|---|---|---|", *rows])


def _verdict(finding: Finding) -> str:
    return "" if finding.is_met is None else "yes" if finding.is_met else "**no**"


def insert(page: Path, name: str, text: str) -> None:
    """Put a section between its markers; at the end of the page where it has none yet."""
    opening, closing = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    section = f"{opening}\n{text}\n{closing}"
    old = page.read_text("utf-8") if page.exists() else "# Benchmarks\n"
    between = re.compile(f"{re.escape(opening)}.*?{re.escape(closing)}", re.DOTALL)
    new = between.sub(lambda _: section, old) if between.search(old) else f"{old.rstrip()}\n\n{section}\n"
    temporary = page.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(new, "utf-8")
    os.replace(temporary, page)
