"""The graphs of one model folder, a few of them in memory at a time: a merged adapter is a graph of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

Loaded = TypeVar("Loaded")


class Graphs(Generic[Loaded]):
    """Loads a graph when it is first asked for; the one that was not asked for longest makes room. For one thread."""

    def __init__(self, files: Mapping[str, str], load: Callable[[str], Loaded], most: int) -> None:
        """`files`: name of each graph's file by adapter, empty for the base. `most`: so many are in memory together."""
        self._files, self._load, self._most = dict(files), load, max(1, most)
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    @property
    def first(self) -> tuple[str, ...]:
        """Those that can be in memory from the start."""
        return tuple(self._files)[: self._most]

    def get(self, adapter: str) -> Loaded:
        """The graph of an adapter."""
        if adapter not in self._loaded:
            while len(self._loaded) >= self._most:
                self._loaded.popitem(last=False)  # before the next one comes: both together may not fit
            self._loaded[adapter] = self._load(self._files[adapter])
        self._loaded.move_to_end(adapter)
        return self._loaded[adapter]
