"""What a finished build made for one device: the base's graph, and each adapter beside it or folded into a graph of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASE, BESIDE, MERGED = "export-", "adapter-", "merged-"
"""How the steps begin that make them; device and adapter follow."""

Artifact = Mapping


@dataclass(frozen=True)
class Made:
    """Artifacts of a build's manifest that belong to one device."""

    device: str
    graph: Artifact
    adapters: Mapping[str, Artifact]
    """By name, in the recipe's order."""
    is_merged: bool

    @property
    def artifacts(self) -> list[Artifact]:
        return [self.graph, *self.adapters.values()]


def devices_in(artifacts: Sequence[Artifact]) -> list[str]:
    """The devices that something was made for."""
    return [artifact["step"].removeprefix(BASE) for artifact in artifacts if artifact["step"].startswith(BASE)]


def made_for(artifacts: Sequence[Artifact], device: str) -> Made | None:
    """What was made for a device; None where nothing was."""
    graph = next((artifact for artifact in artifacts if artifact["step"] == BASE + device), None)
    if graph is None:
        return None
    merged, beside = (_named(artifacts, f"{kind}{device}-") for kind in (MERGED, BESIDE))
    return Made(device, graph, merged or beside, bool(merged))


def _named(artifacts: Sequence[Artifact], prefix: str) -> dict[str, Artifact]:
    return {found["step"].removeprefix(prefix): found for found in artifacts if found["step"].startswith(prefix)}
