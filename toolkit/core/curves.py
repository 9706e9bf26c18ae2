"""Measurements over time, bounded: however long a run is, each of its curves has a few thousand points at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.core import events as ev

LIMIT = 2000
"""Points of a curve at most."""
PLOTTED = ("loss", "held_out_loss", "learning_rate", "rate")
"""Metrics of a step that are kept as curves."""
MACHINE = ("cpu", "memory", "gpu", "gpu_memory")
"""Curves of the machine, each a share from 0 to 1."""
Row = tuple[float, Mapping[str, float]]


@dataclass(frozen=True)
class Curve:
    """Points in the order in which they were measured."""

    xs: tuple[float, ...] = ()
    ys: tuple[float, ...] = ()

    @property
    def last(self) -> float | None:
        return self.ys[-1] if self.ys else None


class Track:
    """What one source measured: every `stride`-th row of all that came, evenly, and always the first and the last."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = max(limit, 4)
        self._rows: list[Row] = []
        self._last: Row | None = None
        self._stride = 1
        self._seen = 0
        self._drawn: dict[str, Curve] = {}

    @property
    def is_due(self) -> bool:
        """True where the next row will be kept; one that is not need not even be parsed."""
        return self._seen % self._stride == 0

    def skip(self) -> None:
        """A row came that is not due."""
        self._seen += 1

    def add(self, x: float, values: Mapping[str, float]) -> None:
        """A row came; kept where it is due."""
        self.ends_with(x, values)
        if self.is_due:
            self._rows.append(self._last)
            if len(self._rows) >= self._limit:
                self._rows = self._rows[::2]
                self._stride *= 2
        self._seen += 1

    def ends_with(self, x: float, values: Mapping[str, float]) -> None:
        """This is the newest row, whether it is kept for good or not."""
        self._last = (x, values)
        self._drawn = {}

    def curve(self, name: str) -> Curve:
        """The curve of one value; rows without it have no point."""
        if name not in self._drawn:
            self._drawn[name] = self._curve(name)
        return self._drawn[name]

    def _curve(self, name: str) -> Curve:
        rows = self._rows
        if self._last and (not rows or rows[-1] is not self._last):
            rows = [*rows, self._last]
        points = [(x, values[name]) for x, values in rows if name in values]
        return Curve(tuple(x for x, _ in points), tuple(y for _, y in points))


class Curves:
    """All curves of a run: of its steps, and of the machine it ran on."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._steps: dict[str, Track] = {}
        self._restarted: set[str] = set()
        self.machine = Track(limit)

    def start(self, step: str) -> None:
        """A step begins, perhaps again: once it measures anew, what it measured before is forgotten."""
        self._restarted.add(step)

    def track(self, step: str) -> Track:
        """Where a step that measures puts its rows."""
        if step in self._restarted or step not in self._steps:
            self._restarted.discard(step)
            self._steps[step] = Track(self._limit)
        return self._steps[step]

    def add(self, event: ev.StepProgress) -> None:
        self.track(event.step).add(event.done, event.metrics)

    def sampled(self, event: ev.MachineSampled) -> None:
        self.machine.add(event.at, machine_shares(event))

    def of_steps(self) -> dict[tuple[str, str], Curve]:
        """(step, metric) -> its curve, of those that have points."""
        drawn = {(step, name): track.curve(name) for step, track in self._steps.items() for name in PLOTTED}
        return {key: curve for key, curve in drawn.items() if curve.xs}

    def of_machine(self) -> dict[str, Curve]:
        drawn = {name: self.machine.curve(name) for name in MACHINE}
        return {name: curve for name, curve in drawn.items() if curve.xs}


def machine_shares(event: ev.MachineSampled) -> dict[str, float]:
    """How busy and how full the machine was, each from 0 to 1; without graphics processors where there are none."""
    shares = {"cpu": event.cpu}
    if event.memory_total:
        shares["memory"] = event.memory / event.memory_total
    if event.gpu is not None:
        shares["gpu"] = event.gpu
    if event.gpu_memory is not None and event.gpu_memory_total:
        shares["gpu_memory"] = event.gpu_memory / event.gpu_memory_total
    return shares
