"""What to publish, where to, and as whom. The password lives in its field only, and leaves it when a push starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import getters, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Select, Static

from toolkit.core import reference
from toolkit.core.engine import Credentials
from toolkit.core.registry_access import PASSWORD_VARIABLE, chosen, from_environment
from toolkit.core.targets import default_tag
from toolkit.errors import PublishError, RegistryDenied, ToolkitError
from toolkit.tui.widgets.history_input import HistoryInput


@dataclass(frozen=True)
class Asked:
    """What the form says, checked as far as it can be without asking anybody."""

    image: str
    target: str
    """With its tag."""
    credentials: Credentials | None


class PublishForm(Vertical):
    images = getters.query_one("#image", Select)
    target = getters.query_one("#target", HistoryInput)
    user = getters.query_one("#user", Input)
    password = getters.query_one("#password", Input)

    @dataclass
    class Wrong(Message):
        """A field is wrong."""

        problem: ToolkitError

    class PlanWanted(Message):
        """Enter in a field, or the button."""

    class PushWanted(Message):
        """The button."""

    def compose(self) -> ComposeResult:
        username, has_password = from_environment()
        with Horizontal(classes="line"):
            yield Label("Image")
            yield Select([], prompt="no image yet: package a build", id="image")
        with Horizontal(classes="line"):
            yield Label("Registry")
            yield HistoryInput("HOST/REPOSITORY[:TAG]", id="target")
        with Horizontal(classes="line"):
            yield Label("User")
            yield Input(username, placeholder="none", id="user")
            yield Label("Password", classes="second")
            yield Input(placeholder=f"as {PASSWORD_VARIABLE} says" if has_password else "none", password=True, id="password")
        with Horizontal(classes="line"):
            yield Button("Plan", id="plan")
            yield Button("Push", id="push", variant="primary")
            yield Static("", markup=False, id="note")

    def on_mount(self) -> None:
        self.border_title = "Publish"
        self._names: list[str] | None = None
        for field in self.query(Input):
            field.cursor_blink = False

    @property
    def image(self) -> str:
        """Reference of the chosen image; empty: there is none."""
        return "" if self.images.value is Select.NULL else str(self.images.value)

    def offer(self, names: list[str], wanted: str = "") -> None:
        """Images to choose from; `wanted` is chosen, else the one that was."""
        held = self.image
        if names != self._names:
            self._names = names
            self.images.set_options([(name, name) for name in names])
            held = held if held in names else next(iter(names), "")
            self.images.value = held or Select.NULL
        if wanted in names:
            self.images.value = wanted

    def remember(self, targets: Sequence[str]) -> None:
        """Earlier targets, the newest first; it is the one to go on with."""
        self.target.remember(targets)
        if targets and not self.target.value:
            self.target.value = targets[0]
        self.query_one("#note", Static).update("up, down in Registry: earlier ones" if len(targets) > 1 else "")

    def asked(self) -> Asked | None:
        """None where a field is wrong; that is told, and the field has the focus."""
        if not self.image:
            self._tell_at(self.images, ToolkitError("There is no image to publish.", "Package a finished build: 3, then p."))
            return None
        try:
            target = reference.parse(self.target.value.strip(), default_tag(self.image))
        except PublishError as exc:
            self._tell_at(self.target, exc)
            return None
        try:
            return Asked(self.image, str(target), chosen(self.user.value.strip(), self.password.value))
        except RegistryDenied as exc:
            self._tell_at(self.password, exc)
            return None

    def _tell_at(self, field: Widget, problem: ToolkitError) -> None:
        field.add_class("-invalid")
        field.focus()
        self.post_message(self.Wrong(problem))

    def point_at_password(self) -> None:
        """The registry refused it, or wants one: the user comes first where there is none."""
        field = self.password if self.user.value else self.user
        field.add_class("-invalid")
        field.focus()

    def forget_password(self) -> None:
        self.password.value = ""

    @on(Input.Changed)
    def changed(self, event: Input.Changed) -> None:
        event.input.remove_class("-invalid")

    @on(Input.Submitted)
    @on(Button.Pressed, "#plan")
    def plan_wanted(self) -> None:
        self.post_message(self.PlanWanted())

    @on(Button.Pressed, "#push")
    def push_wanted(self) -> None:
        self.post_message(self.PushWanted())
