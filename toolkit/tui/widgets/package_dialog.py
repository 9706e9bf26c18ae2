"""Choose what to package: a finished build for a device, and how much memory the proof may use."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from toolkit.core.packagable import Packagable, as_memory_mb
from toolkit.errors import RunError
from toolkit.tui.harmless import harmless, harmless_line
from toolkit.tui.widgets.image_table import ago


class PackageDialog(ModalScreen[tuple[Packagable, int] | None]):
    """Answers the build with its device and the memory limit in MB (0: the device's); None: thought better of it."""

    BINDINGS = [Binding("escape", "dismiss", "Cancel")]
    DEFAULT_CSS = "PackageDialog OptionList { max-height: 10; margin-bottom: 1; } PackageDialog #memory-line { align-horizontal: left; }"

    def __init__(self, builds: Sequence[Packagable], now: float) -> None:
        super().__init__(classes="dialog")
        self._builds, self._now = list(builds), now

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Package which build?", markup=False, classes="question")
            yield OptionList(*(Option(_told(build, self._now)) for build in self._builds), markup=False)
            with Horizontal(id="memory-line"):
                yield Label("Memory limit of the proof, MB: ", markup=False)
                yield Input(placeholder="the device's", max_length=12, id="memory")
            yield Static("", markup=False, classes="consequence", id="limit")
            with Horizontal():
                yield Button("Package (Enter)", id="start", variant="primary")
                yield Button("Cancel (Esc)", id="cancel")

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self.query_one(OptionList).highlighted = 0
        self.query_one(OptionList).focus()

    @on(OptionList.OptionHighlighted)
    def tell_limit(self) -> None:
        build = self._chosen
        told = f"The device {build.device} has {build.memory_mb} MB."
        self.query_one("#limit", Static).update(harmless("\n".join(filter(None, [told, build.name.note]))))

    @property
    def _chosen(self) -> Packagable:
        return self._builds[self.query_one(OptionList).highlighted or 0]

    @on(Input.Changed)
    def changed(self, event: Input.Changed) -> None:
        event.input.remove_class("-invalid")

    @on(OptionList.OptionSelected)
    @on(Input.Submitted)
    def start(self) -> None:
        field = self.query_one(Input)
        try:
            self.dismiss((self._chosen, as_memory_mb(field.value)))
        except RunError as exc:
            self.query_one("#limit", Static).update(str(exc))
            field.add_class("-invalid")
            field.focus()

    @on(Button.Pressed)
    def pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "start":
            self.start()
        else:
            self.dismiss(None)

    def action_dismiss(self) -> None:  # type: ignore[override]
        self.dismiss(None)


def _told(build: Packagable, now: float) -> str:
    adapters = ",".join(build.adapters) or "no adapter"
    return harmless_line(f"{build.run} for {build.device}: {adapters}, {ago(now - build.built_at)}")
