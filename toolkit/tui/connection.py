"""How far away the terminal is: it is asked where its cursor stands, and the time until it answers is the round trip."""

from __future__ import annotations

import time
from collections.abc import Callable

from toolkit.tui.pace import NORMAL, SLOW, Pace

QUESTIONS = 3
"""One after the other; the quickest answer counts, since a busy moment only ever makes one longer."""
SLOW_SECONDS = 0.1
PLACE = (2, 2)
"""Row and column to ask from. The answer from row 1 would look like the key F3."""
ASK = f"\x1b7\x1b[{PLACE[0]};{PLACE[1]}H\x1b[6n\x1b8"
"""Remember the cursor, go there, ask, go back: nothing that can be seen."""


def pace_for(round_trip: float) -> Pace:
    return SLOW if round_trip >= SLOW_SECONDS else NORMAL


class RoundTrip:
    """Asks a few times and tells the shortest round trip. A terminal that never answers is simply not told about."""

    def __init__(self, write: Callable[[str], None], tell: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._tell, self._clock = write, tell, clock
        self._asked_at: float | None = None
        self._taken: list[float] = []

    def begin(self) -> None:
        """Ask anew; what was taken before is forgotten."""
        self._taken = []
        self._ask()

    def heard(self, row: int, column: int) -> bool:
        """Take an answer. False where it answers no question of ours."""
        if self._asked_at is None or (row, column) != PLACE:
            return False
        self._taken.append(self._clock() - self._asked_at)
        self._asked_at = None
        if len(self._taken) < QUESTIONS:
            self._ask()
        else:
            self._tell(min(self._taken))
        return True

    def _ask(self) -> None:
        self._asked_at = self._clock()
        self._write(ASK)
