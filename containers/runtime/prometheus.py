"""Prometheus' text format, version 0.0.4: counters, gauges and histograms.

Its official client is not used: it drags http.server, wsgiref and TLS into an image that needs none of them. A test reads
these pages with that client's own parser.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counter:
    """Numbers that only grow, one for each set of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()):
        self._name, self._help, self._labels = name, help, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, amount: float, *values: str) -> None:
        self._values[values] = self._values.get(values, 0) + amount

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, "counter", self._help)
        for values, amount in self._values.items():
            yield _sample(self._name, dict(zip(self._labels, values, strict=True)), amount)


class Histogram:
    """How often something was at most so much."""

    def __init__(self, name: str, help: str, bounds: Sequence[float]):
        self._name, self._help, self._bounds = name, help, tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def mean(self) -> float:
        """0 where nothing was observed."""
        seen = sum(self._counts)
        return self._sum / seen if seen else 0.0

    def lines(self) -> Iterator[str]:
        yield from _head(self._name, "histogram", self._help)
        seen = 0
        for bound, count in zip([*map(_number, self._bounds), "+Inf"], self._counts, strict=True):
            seen += count
            yield _sample(f"{self._name}_bucket", {"le": bound}, seen)
        yield _sample(f"{self._name}_sum", {}, self._sum)
        yield _sample(f"{self._name}_count", {}, seen)


def gauge(name: str, help: str, value: float, labels: Mapping[str, str] | None = None) -> Iterator[str]:
    """The lines of a number that goes up and down."""
    yield from _head(name, "gauge", help)
    yield _sample(name, labels or {}, value)


def page(*families: Iterator[str]) -> str:
    return "".join(f"{line}\n" for family in families for line in family)


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{said}}} {_number(value)}" if said else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return repr(float(value)) if value != int(value) else str(int(value))
