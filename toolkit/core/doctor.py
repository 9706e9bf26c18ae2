"""What this machine lacks: each finding says what was seen and names its fix. A check that hangs holds up no other."""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from toolkit.core.checks import credentials, disk, engine, gpu, guardian, session
from toolkit.core.finding import LEVELS, Finding, Scene, in_background
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError


@dataclass(frozen=True)
class Check:
    """One look at the machine, and how long it may take."""

    subject: str
    look: Callable[[Scene], Finding]
    seconds: float = 20.0
    starts_container: bool = False


LEAVE_SECONDS = 0.2
"""Between two looks whether anybody still wants to know."""

CHECKS = (
    Check("python", session.python),
    Check("engine", engine.engine),
    Check("build environment", engine.build_environment, 70.0),
    Check("gpu", gpu.gpu, 40.0),
    Check("cuda flavour", gpu.flavour, 70.0),
    Check("build image", gpu.image, 90.0, starts_container=True),
    Check("disk", disk.disk),
    Check("compute instance", guardian.compute_instance, 40.0),
    Check("registries", credentials.registries),
    Check("azure", credentials.azure),
    Check("lingering", session.lingering),
    Check("terminal", session.terminal),
)
PASSING = tuple(check for check in CHECKS if not check.starts_container)
"""What is looked at in passing, when nobody asked for the doctor."""


def examine(bench: Workbench, checks: Sequence[Check] = CHECKS, leave: Callable[[], bool] = lambda: False) -> Iterator[Finding]:
    """Every finding, as it comes. A check that fails or does not answer in time is a finding too."""
    scene = Scene(bench)
    came: queue.SimpleQueue[Finding] = queue.SimpleQueue()
    waiting = {check.subject: time.monotonic() + check.seconds for check in checks}
    for check in checks:
        in_background(lambda check=check: came.put(_finding(check, scene)))
    while waiting and not leave():
        left = min(waiting.values()) - time.monotonic()
        try:
            finding = came.get(timeout=min(max(0.0, left), LEAVE_SECONDS))
        except queue.Empty:
            if left > LEAVE_SECONDS:
                continue
            finding = _hung(min(waiting, key=waiting.__getitem__), checks)
        if waiting.pop(finding.subject, None) is not None:  # what answers after its time is not heard
            yield finding


def _finding(check: Check, scene: Scene) -> Finding:
    try:
        return check.look(scene)
    except ToolkitError as exc:
        return Finding(check.subject, "warning", exc.message, exc.hint)
    except Exception as exc:
        return Finding(check.subject, "warning", f"cannot be looked at: {type(exc).__name__}: {exc}")


def _hung(subject: str, checks: Iterable[Check]) -> Finding:
    seconds = next(check.seconds for check in checks if check.subject == subject)
    return Finding(subject, "warning", f"no answer within {seconds:g} s", "Look again; if it stays so, what is asked there hangs.")


def in_order(findings: Iterable[Finding], checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """The findings in the order of the checks."""
    order = [check.subject for check in checks]
    return sorted(findings, key=lambda finding: order.index(finding.subject))


def worst(findings: Iterable[Finding]) -> Finding | None:
    """The finding to tell first; None where all is well."""
    bad = [finding for finding in findings if finding.level != "ok"]
    return min(bad, key=lambda finding: LEVELS.index(finding.level), default=None)


def counted(findings: Iterable[Finding]) -> str:
    """`1 problem, 2 warnings`, or that nothing is amiss."""
    levels = Counter(finding.level for finding in findings)
    said = [f"{levels[level]} {level}{'s' if levels[level] > 1 else ''}" for level in ("problem", "warning") if levels[level]]
    return ", ".join(said) or "nothing is amiss"


def report(findings: Iterable[Finding], at: float) -> str:
    """All findings as text to send to somebody."""
    written = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    lines = [f"edge doctor, {written}"]
    for finding in findings:
        lines += ["", f"[{finding.level}] {finding.subject}", f"  {finding.seen}"]
        lines += [f"  fix: {finding.fix}"] if finding.fix else []
    return "\n".join(lines) + "\n"
