"""Lets a worker in a thread wait between two looks: woken early where there is news, and for good when its screen goes."""

from __future__ import annotations

import threading


class Ticker:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._is_stopped = False

    def wait(self, seconds: float) -> bool:
        """True after so long, or at once when called; False: it is over."""
        with self._changed:
            calls = self._calls
            self._changed.wait_for(lambda: self._is_stopped or self._calls != calls, seconds)
            return not self._is_stopped

    def call(self) -> None:
        """Look now."""
        with self._changed:
            self._calls += 1
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
