"""What Home shows, looked at in threads: runs, machine, engine, doctor. Only what has changed is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.message import Message
from textual.message_pump import MessagePump

from toolkit.core.files import Disk
from toolkit.core.finding import Finding
from toolkit.core.listing import Roster, Row
from toolkit.core.machine import Sample
from toolkit.core.workbench import Workbench
from toolkit.errors import EngineMissing, ToolkitError
from toolkit.tui.pace import Pace
from toolkit.tui.ticker import Ticker

FIRST_SECONDS = 0.5
"""Until the first sample: what a processor does in no time cannot be told."""
MACHINE_SECONDS = 5.0
ENGINE_SECONDS = 3.0


@dataclass
class RunsSeen(Message):
    rows: Sequence[Row]


@dataclass
class RunsUnseen(Message):
    """The folder of runs cannot be read."""

    problem: str


@dataclass
class MachineSeen(Message):
    sample: Sample
    disk: Disk


@dataclass
class EngineSeen(Message):
    """Whether the engine answers: its problem, or None."""

    problem: ToolkitError | None


@dataclass
class Examined(Message):
    findings: Sequence[Finding]


class Lookout:
    """Looks until its ticker stops, and posts to `screen`, which says by its `pace` how often."""

    def __init__(self, screen: MessagePump, bench: Workbench, roster: Roster, ticker: Ticker) -> None:
        self._screen, self._bench, self._roster, self._ticker = screen, bench, roster, ticker

    @property
    def _pace(self) -> Pace:
        return self._screen.app.pace

    def watch_runs(self) -> None:
        told: Message | None = None
        while True:
            seen, has_weighed = self._runs(), False
            if seen != told:
                self._screen.post_message(seen)
                told = seen
            if isinstance(seen, RunsSeen):
                has_weighed = self._roster.weigh()
            if not self._ticker.wait(0 if has_weighed else self._pace.list_seconds):
                return

    def _runs(self) -> RunsSeen | RunsUnseen:
        try:
            return RunsSeen(self._roster.rows()[::-1])
        except (OSError, ToolkitError) as exc:
            return RunsUnseen(f"The runs cannot be listed: {exc}")

    def watch_machine(self) -> None:
        sampler, told = self._bench.sampler(), None
        seconds = FIRST_SECONDS
        while self._ticker.wait(seconds):
            seen = MachineSeen(sampler.sample(), self._bench.disk(self._bench.settings.home))
            if seen != told:
                self._screen.post_message(seen)
            told, seconds = seen, MACHINE_SECONDS * (3 if self._pace.is_slow else 1)

    def watch_engine(self) -> None:
        """A person who chose the local engine misses no other."""
        while self._bench.settings.engine != "local":
            try:
                self._bench.image_engine()
                problem = None
            except EngineMissing as exc:
                problem = exc
            self._screen.post_message(EngineSeen(problem))
            if not self._ticker.wait(max(ENGINE_SECONDS, self._pace.list_seconds)):
                return
