"""Bars of block characters, and figures that hold still until they really move."""

from __future__ import annotations


def bar(share: float, width: int) -> str:
    """A bar of whole blocks; it is full only at the end, and empty only at the start."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    if 0 < share < 1:
        filled = min(max(filled, 1), width - 1)
    return "█" * filled + "░" * (width - filled)


class Steady:
    """A figure as it is shown: it follows what is measured once that has moved by `step`, so that an idle screen stays as it is."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._shown: float | None = None

    def shown(self, measured: float | None) -> float | None:
        if measured is None or self._shown is None or abs(measured - self._shown) >= self._step:
            self._shown = measured
        return self._shown
