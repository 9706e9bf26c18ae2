"""The machine's figures as events of the run, every few seconds while it is worked on. Standard library only."""

from __future__ import annotations

from pathlib import Path

from shared import events, machine


def start(run: Path, seconds: float) -> machine.Recorder:
    """Record from now on, until the recorder is stopped."""
    return machine.Recorder(lambda sample: events.note(run, events.MachineSampled(**vars(sample))), seconds)
