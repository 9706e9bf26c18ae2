"""How often the screen may change: as fast as it is pleasant, or as little as a slow connection needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    name: str
    frame_seconds: float
    """Between two pictures of something that moves: a run, an answer."""
    list_seconds: float
    """Between two looks at what changes seldom: the list of runs, the machine."""
    is_slow: bool = False
    """No animation, no ornament that moves."""


NORMAL = Pace("normal", frame_seconds=0.1, list_seconds=1.0)
SLOW = Pace("slow", frame_seconds=1.0, list_seconds=5.0, is_slow=True)
