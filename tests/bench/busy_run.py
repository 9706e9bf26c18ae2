"""`python -m tests.bench.busy_run HOME`: a run under way that logs and tells events much faster than any real one, until killed."""

from __future__ import annotations

import fcntl
import sys
import time
from pathlib import Path

from toolkit.core import events as ev
from toolkit.core.run import Run, new_run

LINES_PER_SECOND = 2000
EVENTS_PER_SECOND = 20
ROUNDS_PER_SECOND = 50
STEPS = ("quantize", "finetune-travel", "export-cpu", "adapter-cpu-travel", "evaluate-cpu-travel")
STEP = STEPS[1]
TOTAL = 100_000


def start(home: Path) -> Run:
    """A build in its second step, as `edge run` leaves it."""
    listed = [{"name": step, "kind": step.split("-")[0], "options": {}, "inputs": {}} for step in STEPS]
    recipe = {"name": "busy", "adapters": [{"name": "travel"}], "export": {"context_length": 0}}
    run = new_run(home / "runs", "build", "busy", lambda _: {"engine": "local", "recipe": recipe, "steps": listed})
    (run.folder / "steps" / STEP).mkdir(parents=True)
    for event in (
        ev.RunRequested(run=run.id, kind="build", steps=STEPS),
        ev.RunStarted(driver="local", handle="1"),
        ev.StepStarted(step=STEPS[0]),
        ev.StepFinished(step=STEPS[0], seconds=61.5),
        ev.StepStarted(step=STEP),
    ):
        run.append(event)
    return run


def go_on(run: Run) -> None:
    """Log and tell, for ever, at an even pace."""
    began, number = time.monotonic(), 0
    each = LINES_PER_SECOND // ROUNDS_PER_SECOND
    with open(run.folder / "log.txt", "ab", 0) as of_run, open(run.folder / "steps" / STEP / "log.txt", "ab", 0) as of_step:
        while True:
            number += 1
            lines = "".join(f"[INFO] [trainer.py:{line}] line {number * each + line} of a step that talks a lot\n" for line in range(each))
            of_run.write(lines.encode())
            of_step.write(lines.encode())
            if number % (ROUNDS_PER_SECOND // EVENTS_PER_SECOND) == 0:
                _tell(run, number)
            time.sleep(max(0, began + number / ROUNDS_PER_SECOND - time.monotonic()))


def _tell(run: Run, number: int) -> None:
    metrics = {"loss": 3 / (1 + number / 500) + 0.3 + (number % 7) / 70, "learning_rate": 2e-3 * (1 - number / TOTAL)}
    run.append(ev.StepProgress(step=STEP, done=number, total=TOTAL, unit="steps", metrics=metrics))
    if number % (2 * ROUNDS_PER_SECOND) == 0:
        run.append(ev.MachineSampled(cpu=0.5 + (number % 13) / 40, memory=8 << 30, memory_total=16 << 30))


def main() -> None:
    run = start(Path(sys.argv[1]))
    with open(run.lock_file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(run.id, flush=True)
        go_on(run)


if __name__ == "__main__":
    main()
