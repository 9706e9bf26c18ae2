"""The servers of a front end's chats: each started once, shared by whoever talks to the same model, ended when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.core.chat import Conversation
from toolkit.core.serving import Limits, Serving
from toolkit.core.targets import ChatTarget, chat_target
from toolkit.core.workbench import Workbench


@dataclass(frozen=True)
class Wanted:
    """Whom to talk to: an image or a packaged run, its adapter, and the limits where they are not the device's."""

    reference: str
    adapter: str = ""
    memory_mb: int | None = None
    cpus: float | None = None

    def limits(self, target: ChatTarget) -> Limits:
        memory = target.limits.memory_mb if self.memory_mb is None else self.memory_mb
        return Limits(memory, target.limits.cpus if self.cpus is None else self.cpus)


@dataclass(frozen=True)
class Seat:
    """A place to talk from: the target, its running server, and the adapter that answers."""

    wanted: Wanted
    target: ChatTarget
    serving: Serving
    provider: str = ""
    """What its model really runs on."""

    @property
    def name(self) -> str:
        return f"{self.target.name}, {self.wanted.adapter or 'base'}"

    def conversation(self, system: str = "") -> Conversation:
        return self.serving.conversation(system)


class Chatroom:
    """Servers by image and limits. Its methods may be called from any thread; those that wait say so."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._servings: dict[tuple[str, Limits], Serving] = {}
        self._lock = threading.Lock()

    def take_seat(self, wanted: Wanted, say: Callable[[ChatTarget], None], leave: Callable[[], bool]) -> Seat:
        """Find the model, start its server unless it runs, and wait until it is ready. `say` hears what is being started.

        Raises:
            ChatError: no such image or adapter, or the server did not come up.
            EngineError: the engine refused, or does not answer.
        """
        target = chat_target(self._bench, wanted.reference)
        target.check_adapter(wanted.adapter, [f"base:{name}" for name in target.adapters])
        say(target)
        serving = self._serving(target, wanted.limits(target))
        try:
            serving.wait_until_ready(leave=leave)
            return Seat(wanted, target, serving, "" if leave() else serving.provider())
        except BaseException:
            self.end(serving)
            raise

    def _serving(self, target: ChatTarget, limits: Limits) -> Serving:
        with self._lock:  # two sides of one image are seated at the same time, and it is to be started once
            running = self._servings.get((target.served, limits))
            if running is not None and running.is_served:
                return running
            started = self._servings[target.served, limits] = target.start(limits)
            return started

    def end(self, serving: Serving) -> None:
        """End a server; waits for the engine."""
        with self._lock:
            self._servings = {key: kept for key, kept in self._servings.items() if kept is not serving}
        serving.end()

    def end_others(self, kept: list[Serving]) -> None:
        """End every server that none of the seats in use needs; waits for the engine."""
        for serving in list(self._servings.values()):
            if serving not in kept:
                self.end(serving)
