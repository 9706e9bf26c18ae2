"""What an adapter costs on a device: switchable ones some decoding speed, merged ones room for a graph of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.core.device import MERGED, SWITCHABLE
from toolkit.core.files import as_size
from toolkit.core.run import RunState

IN_ADVANCE = {
    SWITCHABLE: "one graph runs the base and every adapter; an active adapter costs some decoding speed, which the evaluation measures",
    MERGED: "a graph for each adapter, at the base's speed; each needs about as much room as the model",
}
"""Said where a person chooses, before anything is measured."""


@dataclass(frozen=True)
class AdapterPrice:
    """Of one adapter on one device."""

    device: str
    adapter: str
    is_merged: bool
    speed_lost: float | None
    """Share of the base's tokens a second that is lost while the adapter answers; None: not measured."""
    bytes: int
    """Of its file, or of what its graph does not share."""

    def __str__(self) -> str:
        who = f"{self.adapter} on {self.device}"
        if self.is_merged:
            return f"{who}: merged, costs no decoding speed{self._seen}; its own graph takes {as_size(self.bytes)}"
        if self.speed_lost is None:
            return f"{who}: switchable, {as_size(self.bytes)}"
        return f"{who}: switchable, costs {max(self.speed_lost, 0):.0%} of the decoding speed and {as_size(self.bytes)}"

    @property
    def _seen(self) -> str:
        return "" if self.speed_lost is None else f" (measured at {1 - self.speed_lost:.0%} of the base's)"


def prices(steps: Sequence[Mapping], state: RunState) -> list[AdapterPrice]:
    """Of each adapter that a build has evaluated, in the order of its steps."""
    sizes = {made.step: made.bytes for made in state.artifacts}
    found = []
    for step in steps:
        fitted = next((name for name in ("merged", "adapter") if name in step["inputs"]), "")
        if step["kind"] == "evaluate" and fitted and step["name"] in state.steps:
            graph = step["inputs"][fitted].get("step", "")
            metrics = state.steps[step["name"]].metrics
            size = int(state.steps[graph].metrics.get("graph.own_bytes", 0)) if graph in state.steps else 0
            options = step["options"]
            found.append(
                AdapterPrice(options["device"], options["adapter"], fitted == "merged", _lost(metrics), size or sizes.get(graph, 0))
            )
    return found


def _lost(metrics: Mapping[str, float]) -> float | None:
    base, own = (metrics.get(f"tokens_per_second.{name}") for name in ("graph", "adapter"))
    return 1 - own / base if base and own else None
