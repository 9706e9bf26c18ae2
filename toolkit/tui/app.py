"""EdgeApp: places, global keys, theme; nothing else."""

from __future__ import annotations

from textual import on
from textual.app import App
from textual.binding import Binding
from textual.screen import Screen

from toolkit.core.workbench import Workbench
from toolkit.tui import messages
from toolkit.tui.pace import NORMAL, Pace
from toolkit.tui.places import PLACES
from toolkit.tui.themes import THEMES, first_theme, other_theme


class EdgeApp(App[None]):
    """From a recipe to a pushed image, over SSH."""

    TITLE = "edge"
    CSS_PATH = "edge.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]
    BINDINGS = [
        *(Binding(place.key, f"go('{place.name}')", place.title, show=False) for place in PLACES),
        Binding("question_mark,f1", "help", "Keys", key_display="?"),
        Binding("ctrl+t", "change_theme", "Light or dark", show=False),
        Binding("ctrl+q", "quit", "Quit", show=False),
    ]

    def __init__(self, bench: Workbench, pace: Pace | None = None) -> None:
        super().__init__()
        self.bench = bench
        self.pace = pace or NORMAL
        """In force now; screens ask for it each time."""
        self.measures_connection = pace is None
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = first_theme(bench.settings.theme)
        self.set_pace(self.pace)

    def on_mount(self) -> None:
        self.action_go("home")

    def set_pace(self, pace: Pace) -> None:
        self.pace = pace
        self.animation_level = "none" if pace.is_slow else "basic"
        self.set_class(pace.is_slow, "-slow")

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
        self.place("publish").choose(message.reference)
