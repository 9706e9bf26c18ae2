"""The machine's figures as events of the run, every few seconds while it is worked on. Standard library only.

`machine` is shared with the host as `events` is: beside this file in an image, in `toolkit/core` in a checkout.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from shared_events import HERE, events


def _load() -> ModuleType:
    beside = HERE / "machine.py"
    path = beside if beside.exists() else HERE.parents[1] / "toolkit" / "core" / "machine.py"
    spec = importlib.util.spec_from_file_location("machine", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["machine"] = module
    spec.loader.exec_module(module)
    return module


machine = sys.modules.get("machine") or _load()


def start(run: Path, seconds: float) -> machine.Recorder:
    """Record from now on, until the recorder is stopped."""
    return machine.Recorder(lambda sample: events.note(run, events.MachineSampled(**vars(sample))), seconds)
