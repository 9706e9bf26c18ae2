"""What to publish, where to, and as whom. The password lives in its field only, and leaves it when a push starts.

What concerns models shows once there is somewhere to register them: a workspace, or somebody signed in who could choose one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual import getters, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Select, Static

from toolkit.core.cloud import is_cloud_registry
from toolkit.core.engine import Credentials
from toolkit.core.publish_start import PublishWish, Source, whole_store, whole_target
from toolkit.core.registry_access import PASSWORD_VARIABLE, chosen, from_environment
from toolkit.errors import PublishError, RegistryDenied, ToolkitError
from toolkit.tui.widgets.history_input import HistoryInput
from toolkit.tui.widgets.model_dialog import Details

REGISTRY, STORE = "HOST/REPOSITORY[:TAG]", "none: push only"
NO_IMAGE = ToolkitError("There is no image to publish.", "Package a finished build: 3, then p.")


@dataclass(frozen=True)
class Asked:
    """What the form says, checked as far as it can be without asking anybody."""

    wish: PublishWish
    credentials: Credentials | None


class PublishForm(Vertical):
    images = getters.query_one("#image", Select)
    target = getters.query_one("#target", HistoryInput)
    user = getters.query_one("#user", Input)
    password = getters.query_one("#password", Input)
    store = getters.query_one("#store", HistoryInput)
    model = getters.query_one("#model", Input)
    version = getters.query_one("#version", Input)
    sign_in = getters.query_one("#sign-in", Button)

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
            yield HistoryInput(REGISTRY, id="target")
        with Horizontal(classes="line"):
            yield Label("User")
            yield Input(username, placeholder="none", id="user")
            yield Label("Password", classes="second")
            yield Input(placeholder=f"as {PASSWORD_VARIABLE} says" if has_password else "none", password=True, id="password")
        with Horizontal(classes="line store"):
            yield Label("Workspace")
            yield HistoryInput(STORE, id="store")
            yield Button("Choose", id="choose", classes="last")
        with Horizontal(classes="line model"):
            yield Label("Model")
            yield Input(placeholder="as the recipe is called", id="model")
            yield Label("Version", classes="second")
            yield Input(placeholder="next", id="version")
            yield Button("More", id="details", classes="last")
        with Horizontal(classes="line"):
            yield Button("Plan", id="plan")
            yield Button("Push", id="push", variant="primary")
            yield Static("", markup=False, id="note")
        with Horizontal(classes="line azure"):
            yield Static("", markup=False, id="azure")
            yield Button("Sign in", id="sign-in", classes="last")

    def on_mount(self) -> None:
        self.border_title = "Publish"
        self._names: Mapping[str, str] | None = None
        self.details = Details()
        self._attached, self._is_filled = "", False
        """Repository in the registry that belongs to the chosen workspace."""
        for field in self.query(Input):
            field.cursor_blink = False

    @property
    def image(self) -> str:
        """Reference of the chosen image; empty: there is none."""
        return "" if self.images.value is Select.NULL else str(self.images.value)

    @property
    def recipe(self) -> str:
        return (self._names or {}).get(self.image, "") or "image"

    def offer(self, names: Mapping[str, str], wanted: str = "") -> None:
        """Images to choose from, each with its recipe; `wanted` is chosen, else the one that was."""
        held = self.image
        if names != self._names:
            self._names = names
            self.images.set_options([(name, name) for name in names])
            held = held if held in names else next(iter(names), "")
            self.images.value = held or Select.NULL
        if wanted in names:
            self.images.value = wanted

    def remember(self, targets: Sequence[str], settled: str = "") -> None:
        """Earlier targets, the newest first; it is the one to go on with, or what is settled where there is none."""
        self.target.remember(list(dict.fromkeys(filter(None, (*targets, self._attached)))))
        first = next(iter(targets), settled)
        if first and not self.target.value and not self._is_filled:
            self.target.value = first
            self._is_filled = True  # one that is emptied later stays empty: registering needs no registry
        self._note()

    def take_store(self, place: str, registry: str = "") -> None:
        """A workspace was chosen; the registry that is attached to it is taken where none is written, else offered."""
        self.store.value = place
        if registry:
            self._attached = f"{registry}/{self.recipe}"
            if not self.target.value.strip():
                self.target.value = self._attached
        self.remember(self.target.earlier)

    def _note(self) -> None:
        offered = self._attached if self._attached and self.target.value.partition("/")[0] != self._attached.partition("/")[0] else ""
        told = [f"up in Registry: {offered}, the workspace's own"] if offered else []
        told += ["up, down in Registry: earlier ones"] if len(self.target.earlier) > 1 and not offered else []
        told += [self.details.in_words] if self.details.in_words and self.store.value else []
        self.query_one("#note", Static).update("; ".join(told))

    def tell_azure(self, told: str, can_sign_in: bool, can_register: bool) -> None:
        """The line of the cloud; without one it only says how to get it."""
        self.query_one("#azure", Static).update(told)
        self.set_class(can_sign_in, "-signed-out")
        self.set_class(can_register, "-cloud")

    @property
    def has_store(self) -> bool:
        return self.has_class("-cloud") and bool(self.store.value.strip())

    # -- what is asked ----------------------------------------------------------------------------------------------

    def asked(self) -> Asked | None:
        """None where a field is wrong; that is told, and the field has the focus."""
        if not self.image:
            return self._tell_at(self.images, NO_IMAGE)
        store = ""
        if self.has_store:
            try:
                store = whole_store(self.store.value.strip())
            except PublishError as exc:
                return self._tell_at(self.store, exc)
        try:
            target = self._target()
        except PublishError as exc:
            return self._tell_at(self.target, exc)
        try:
            credentials = chosen(self.user.value.strip(), self.password.value) if target else None
        except RegistryDenied as exc:
            return self._tell_at(self.password, exc)
        wish = PublishWish(
            self.image,
            target,
            credentials.username if credentials else "",
            store=store,
            model=self.model.value.strip() or self.recipe if store else "",
            version=self.version.value.strip() if store else "",
            model_type=self.details.type,
            description=self.details.description,
            tags=self.details.tags,
        )
        return Asked(wish, credentials)

    def _target(self) -> str:
        """In full; empty is meant only where something is registered."""
        written = self.target.value.strip()
        return str(whole_target(written, Source(self.image, "", self.recipe, None))) if written or not self.has_store else ""

    def _tell_at(self, field: Widget, problem: ToolkitError) -> None:
        self.point_at(field)
        self.post_message(self.Wrong(problem))

    # -- where the remedy is ----------------------------------------------------------------------------------------

    def point_at(self, field: Widget) -> None:
        """The cursor goes where something is to be put right."""
        field.add_class("-invalid")
        field.focus()

    def point_at_password(self) -> None:
        """The registry refused it, or wants one: the user comes first where there is none."""
        self.point_at(self.password if self.user.value else self.user)

    def forget_password(self) -> None:
        self.password.value = ""

    @on(Input.Changed)
    def changed(self, event: Input.Changed) -> None:
        event.input.remove_class("-invalid")

    @on(Input.Changed, "#target")
    def target_changed(self) -> None:
        is_cloud = is_cloud_registry(self.target.value.strip().partition("/")[0])
        self.user.placeholder = "none needed" if is_cloud else "none"
        self._note()

    @on(Input.Changed, "#store")
    def store_changed(self) -> None:
        has_store = bool(self.store.value.strip())
        self.set_class(has_store, "-store")
        push = self.query_one("#push", Button)
        push.label = "Publish" if has_store else "Push"
        push.refresh(layout=True)  # a label that changes keeps its room
        self._note()

    @on(Select.Changed, "#image")
    def image_changed(self) -> None:
        self.model.placeholder = self.recipe

    def take_details(self, details: Details) -> None:
        self.details = details
        self._note()

    @on(Input.Submitted)
    @on(Button.Pressed, "#plan")
    def plan_wanted(self) -> None:
        self.post_message(self.PlanWanted())

    @on(Button.Pressed, "#push")
    def push_wanted(self) -> None:
        self.post_message(self.PushWanted())
