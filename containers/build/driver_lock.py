"""The run's driver lock: held for as long as the build program lives, so that nobody drives a run twice. Standard library only."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

INHERITED = "EDGE_LOCK_FD"
"""Names the descriptor of a lock that the starter of this process holds and handed on."""
WAIT_SECONDS = 20.0
"""The host holds the lock while it starts our container; it lets go then."""


def hold(run: Path) -> bool:
    """Hold the lock until this process ends; False where somebody else keeps it."""
    if os.environ.get(INHERITED):
        return True
    handle = os.open(run / "driver.lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.05)
