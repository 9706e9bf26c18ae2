"""The graphs of one model folder, a few of them in memory at a time: a merged adapter is a graph of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar


class HasUse(Protocol):
    is_idle: bool
    """Nothing runs on it, so it may go."""


Loaded = TypeVar("Loaded", bound=HasUse)


class Graphs(Generic[Loaded]):
    """Loads a graph when it is first asked for; of those that are idle, the one that was not asked for longest makes room. For one thread."""

    def __init__(self, files: Mapping[str, str], load: Callable[[str], Loaded], most: int) -> None:
        """`files`: name of each graph's file by adapter, empty for the base. `most`: so many are in memory together."""
        self._files, self._load, self._most = dict(files), load, max(1, most)
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    @property
    def first(self) -> tuple[str, ...]:
        """Those that can be in memory from the start."""
        return tuple(self._files)[: self._most]

    def get(self, adapter: str) -> Loaded | None:
        """The graph of an adapter; None while all the room is taken by graphs in use."""
        if adapter not in self._loaded and not self._make_room():
            return None
        if adapter not in self._loaded:
            self._loaded[adapter] = self._load(self._files[adapter])
        self._loaded.move_to_end(adapter)
        return self._loaded[adapter]

    def _make_room(self) -> bool:
        while len(self._loaded) >= self._most:
            idle = next((adapter for adapter, graph in self._loaded.items() if graph.is_idle), None)
            if idle is None:
                return False
            del self._loaded[idle]  # before the next one comes: both together may not fit
        return True
