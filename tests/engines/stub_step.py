"""A step that does what its options say; it stands in for the long work, not for the build program around it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from shared import events
from step_io import Step, StepError, main


def work(step: Step) -> None:
    """options: progress (lines), wait_for (a file to appear), fail, eat (MB of memory), fill (until the disk is full)."""
    for number in range(step.option("progress", 3)):
        events.append(
            step.run, events.StepProgress(step=step.name, done=number + 1, total=3, unit="steps", metrics={"loss": 1 / (number + 1)})
        )
    print("working on", step.name, flush=True)
    if gate := step.option("wait_for", ""):
        (step.run / f"{step.name}.pid").write_text(str(os.getpid()))
        while not Path(gate).exists():
            time.sleep(0.02)
    if step.option("fail", ""):
        raise StepError(step.options["fail"], "Do it better.")
    if megabytes := step.option("eat", 0):
        eaten = [bytearray(os.urandom(1 << 20)) for _ in range(megabytes)]
        print(len(eaten))
    if step.option("fill", False):
        with open(step.out / "much", "wb") as much:
            while True:
                much.write(b"x" * (1 << 20))
    (step.out / "result.txt").write_text(step.name)
    with open(step.run / "worked.txt", "a") as worked:
        worked.write(step.name + "\n")
    step.write_metrics({"value": 1})


main(work)
sys.exit(0)
