"""What every step shares: what it was asked, how it tells its progress, and how it says that it cannot go on."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared import events

ERROR_FILE = "error.json"
METRICS_FILE = "metrics.json"
EXPECTED_FAILURE = 3
"""Exit code of a step that said what was wrong. Anything else that is not 0 was a surprise."""

_SECONDS_BETWEEN_EVENTS = 0.5


class StepError(Exception):
    """Expected trouble: what is wrong, and the way out."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Step:
    """One step as it was asked for."""

    run: Path
    """The run's folder."""
    name: str
    kind: str
    options: dict[str, Any]
    inputs: dict[str, Path]
    out: Path
    """Where the outputs go. It exists and is empty."""
    key: str = ""
    """What the outputs depend on, in one hash: for what a step keeps to go on from after a kill."""

    def option(self, name: str, default: Any) -> Any:
        """An option, or its default where it was left out or is null."""
        value = self.options.get(name)
        return default if value is None else value

    def write_metrics(self, metrics: dict[str, float]) -> None:
        rounded = {name: round(float(value), 6) for name, value in metrics.items()}
        (self.out / METRICS_FILE).write_text(json.dumps(rounded, indent=1), encoding="utf-8")


@dataclass
class Progress:
    """Tells how far the step is: at most two events a second, and always the last one."""

    step: Step
    total: float | None = None
    unit: str = ""
    _told: float = field(default=0.0, repr=False)

    def tell(self, done: float, message: str = "", is_last: bool = False, **metrics: float) -> None:
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN_EVENTS and not is_last and done != self.total:
            return
        self._told = now
        events.append(
            self.step.run,
            events.StepProgress(step=self.step.name, done=done, total=self.total, unit=self.unit, message=message, metrics=metrics),
        )


def read_step(path: Path) -> Step:
    asked = json.loads(path.read_text(encoding="utf-8"))
    return Step(
        run=Path(asked["run"]),
        name=asked["name"],
        kind=asked["kind"],
        options=asked["options"],
        inputs={name: Path(value) for name, value in asked["inputs"].items()},
        out=Path(asked["out"]),
        key=asked.get("key", ""),
    )


def main(work: Callable[[Step], None]) -> None:
    """Do `work` for the step named on the command line; leave `error.json` and exit where it cannot be done."""
    step_file = Path(sys.argv[1])
    _die_with_the_build_program()
    try:
        work(read_step(step_file))
    except StepError as error:
        said = {"error": str(error), "hint": error.hint}
        (step_file.parent / ERROR_FILE).write_text(json.dumps(said), encoding="utf-8")
        print(f"{error}\n{error.hint}".rstrip(), file=sys.stderr)
        sys.exit(EXPECTED_FAILURE)


def _die_with_the_build_program() -> None:
    """End this process group when the build program goes away, so that a resumed run never meets an old step.

    The build program holds the other end of our standard input and never writes to it.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    if os.environ.get("EDGE_STEP_LIFELINE") == "stdin" and os.getpgrp() == os.getpid():
        threading.Thread(target=watch, daemon=True).start()
