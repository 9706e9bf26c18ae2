"""EdgeApp: places, global keys, theme; nothing else."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import SystemCommand
from textual.binding import Binding
from textual.driver import Driver
from textual.screen import Screen
from textual.scrollbar import ScrollBar

from toolkit.core.listing import Roster
from toolkit.core.workbench import Workbench
from toolkit.tui import messages
from toolkit.tui.connection import pace_for
from toolkit.tui.endings import RunEnded, watch_endings
from toolkit.tui.key_order import KeysInOrder
from toolkit.tui.pace import NORMAL, SLOW, Pace
from toolkit.tui.palette import commands
from toolkit.tui.places import PLACES
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.screens.small import TooSmall, is_too_small
from toolkit.tui.themes import THEMES, first_theme, other_theme
from toolkit.tui.ticker import Ticker
from toolkit.tui.widgets.dialogs import Confirm
from toolkit.tui.widgets.plain_scrollbar import PlainScrollBar

if TYPE_CHECKING:
    from toolkit.tui.terminal import EdgeDriver

ScrollBar.renderer = PlainScrollBar


WORKERS = 64
"""Threads at most. Python's own limit is six on two cores; a few that wait for a deaf engine would leave none for a key."""


class EdgeApp(KeysInOrder):
    """From a recipe to a pushed image, over SSH."""

    TITLE = "edge"
    NOTIFICATION_TIMEOUT = 3
    CSS_PATH = ["edge.tcss", "standard.tcss"]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]
    BINDINGS = [
        *(Binding(place.key, f"go('{place.name}')", place.title, show=False) for place in PLACES),
        Binding("question_mark,f1", "help", "Keys", key_display="?"),
        Binding("ctrl+t", "change_theme", "Light or dark", show=False),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, bench: Workbench, pace: Pace | None = None) -> None:
        is_colourless = "NO_COLOR" in os.environ
        super().__init__(ansi_color=True if is_colourless else None)
        self.bench = bench
        self.pace = pace or NORMAL
        """In force now; screens ask for it each time."""
        self.measures_connection = pace is None
        """The terminal's round trip decides, until a person does."""
        self.terminal: EdgeDriver | None = None
        """The real terminal, where there is one."""
        self.roster = Roster(bench)
        """The runs, as Home lists them and endings are told from."""
        self.rings_bell = False
        """When a run ends."""
        self._ticker = Ticker()
        self._noticed: dict[str, float] = {}
        """What was noticed, and when last."""
        self._leaving: Confirm | None = None
        """The question whether to quit, once it was asked."""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = first_theme(bench.settings.theme, is_colourless=is_colourless)
        self.set_pace(self.pace)

    def on_mount(self) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKERS, "worker"))
        self.action_go("home")
        self.run_worker(lambda: watch_endings(self, self._ticker), thread=True, exit_on_error=False, group="endings")

    def on_unmount(self) -> None:
        self._ticker.stop()

    def get_driver_class(self) -> type[Driver]:
        """A terminal that times its connection and is left at once."""
        from toolkit.tui.terminal import EdgeDriver

        return EdgeDriver

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:
        return commands(self, screen)

    def set_pace(self, pace: Pace) -> None:
        self.pace = pace
        self.animation_level = "none" if pace.is_slow else "basic"
        self.set_class(pace.is_slow, "-slow")
        if self.terminal:
            self.terminal.spare(pace.is_slow)

    def action_change_pace(self) -> None:
        """The person knows better than any measurement."""
        self.measures_connection = False
        self.set_pace(NORMAL if self.pace.is_slow else SLOW)

    @on(messages.ConnectionMeasured)
    def follow_connection(self, message: messages.ConnectionMeasured) -> None:
        measured = pace_for(message.round_trip)
        if self.measures_connection and measured != self.pace:
            self.set_pace(measured)

    @on(events.Resize)
    def tell_a_window_that_is_too_small(self, event: events.Resize) -> None:
        if is_too_small(event.size):
            if not isinstance(self.screen, TooSmall):
                self.push_screen(TooSmall(event.size))
            else:
                self.screen.tell(event.size)
        elif isinstance(self.screen, TooSmall):
            self.pop_screen()

    def action_go(self, name: str) -> None:
        """Go to a place; it stays as it was left."""
        while len(self.screen_stack) > 2:
            self.pop_screen()
        place = next(place for place in PLACES if place.name == name)
        if not self.is_screen_installed(name):
            self.install_screen(place.make(self.bench), name)
        if len(self.screen_stack) < 2:
            self.push_screen(name)
        else:
            self.switch_screen(name)

    def place(self, name: str) -> Screen:
        """The screen of a place, gone to."""
        self.action_go(name)
        return self.get_screen(name)

    async def action_quit(self) -> None:
        """At once, unless something would be lost."""
        screens = [self.get_screen(place.name) for place in PLACES if self.is_screen_installed(place.name)]
        lost = [told for screen in screens if isinstance(screen, EdgeScreen) and (told := screen.unsaved())]
        if not lost:
            self.exit()
        elif self._leaving not in self.screen_stack:
            self._leaving = Confirm("Quit?", " ".join(lost), "Quit")
            self.push_screen(self._leaving, lambda yes: self.exit() if yes else None)

    def notify(self, message: str, **how) -> None:
        """One notice of the same at a time."""
        now = time.monotonic()
        if now - self._noticed.get(message, -1e9) >= (how.get("timeout") or self.NOTIFICATION_TIMEOUT):
            self._noticed[message] = now
            super().notify(message, **how)

    @on(RunEnded)
    def tell_ending(self, message: RunEnded) -> None:
        """In whichever place one is, but not over the run itself."""
        if any(getattr(screen, "run_id", "") == message.row.id for screen in self.screen_stack):
            return
        self.notify(message.text, severity="information" if message.row.status == "finished" else "error", markup=False, timeout=8)
        if self.rings_bell:
            self.bell()

    def action_change_bell(self) -> None:
        self.rings_bell = not self.rings_bell

    def action_change_theme(self) -> None:
        self.theme = other_theme(self.theme)

    def action_help(self) -> None:
        from toolkit.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    @on(messages.ShowPlace)
    def go_to_place(self, message: messages.ShowPlace) -> None:
        self.action_go(message.place)

    @on(messages.ShowRun)
    def show_run(self, message: messages.ShowRun) -> None:
        from toolkit.tui.screens.run import RunScreen

        self.push_screen(RunScreen(self.bench, message.run_id))

    @on(messages.EditRecipe)
    def edit_recipe(self, message: messages.EditRecipe) -> None:
        self.place("new").edit(message.path)

    @on(messages.ShowImage)
    def show_image(self, message: messages.ShowImage) -> None:
        self.place("images").choose(message.reference)

    @on(messages.ChatWith)
    def chat_with(self, message: messages.ChatWith) -> None:
        self.place("chat").choose(message.target)

    @on(messages.Publish)
    def publish(self, message: messages.Publish) -> None:
        came_from = self.screen.way_back() if isinstance(self.screen, EdgeScreen) else ()
        self.place("publish").choose(message.reference, came_from)
