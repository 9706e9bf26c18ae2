"""What can go wrong at a front, told beforehand: an answer of the fault's own, a cut in the middle, or a pause."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

PATIENCE = 120
"""Seconds after which a pause ends by itself, so that a test that forgot it comes to an end."""


class Cut(Exception):
    """The connection ends here, on both sides."""


@dataclass(eq=False)
class Fault:
    """Befalls the next requests that it fits, in the order they come.

    Without `cut_after` and `pause_after` the front answers by itself: `status`, `headers` and `body`, however odd they are;
    the request goes no further. With one of them the request goes on to its service.
    """

    method: str = ""
    """Empty: any."""
    path: str = ""
    """Regular expression, found anywhere in the path with its query."""
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    """Cut after so many bytes of the request's body, at its end at the latest: then the service has all of it and its answer
    is lost. Of a request without a body: after so many bytes of the answer's body; 0 sends not even the status."""
    pause_after: int | None = None
    """Wait there, as `cut_after` counts, until `go` is set; then go on."""
    times: int = 1
    skip: int = 0
    """Let so many that fit pass first."""
    reached: threading.Event = field(default_factory=threading.Event)
    """Set once it has befallen a request: at its cut or its pause, where it has one."""
    go: threading.Event = field(default_factory=threading.Event)

    def fits(self, method: str, target: str) -> bool:
        return self.method in ("", method) and re.search(self.path, target) is not None

    @property
    def is_answer(self) -> bool:
        return self.cut_after is None and self.pause_after is None

    @property
    def after(self) -> int:
        return self.cut_after if self.cut_after is not None else self.pause_after or 0

    def strike(self) -> None:
        """At the place it was meant for."""
        self.reached.set()
        if self.cut_after is not None:
            raise Cut
        self.go.wait(PATIENCE)


class Faults:
    """Those that a front has before it."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Forget them, and let go of who is paused."""
        with self._lock:
            for fault in self._waiting:
                fault.go.set()
            self._waiting.clear()

    def take(self, method: str, target: str) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                if fault.times > 0 and fault.fits(method, target):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None
