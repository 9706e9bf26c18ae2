"""What can be done with the run on the screen, as it is now; only that is offered."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on, work
from textual.binding import Binding
from textual.message import Message

from toolkit.core import possible
from toolkit.core.compare import is_comparing
from toolkit.core.listing import Row, listed
from toolkit.core.watch import Picture
from toolkit.core.workbench import Workbench
from toolkit.tui.messages import ChatWith, Publish, ShowImage
from toolkit.tui.screens.run_actions import RunActions


@dataclass(frozen=True)
class WayOn:
    """What an ended run can be used for."""

    package: str = ""
    """The finished packaging run that it is or has."""
    image: str = ""


class RunNext(RunActions):
    BINDINGS = [
        Binding("s", "stop", "Stop"),
        Binding("r", "resume", "Resume"),
        Binding("p", "package", "Package"),
        Binding("c", "chat", "Chat"),
        Binding("u", "publish", "Publish"),
        Binding("i", "image", "Image", show=False),
        Binding("d", "delete", "Delete", show=False),
    ]

    @dataclass
    class WayOnFound(Message):
        way: WayOn

    def __init__(self, bench: Workbench, run_id: str) -> None:
        super().__init__(bench)
        self.run_id = run_id
        self.picture = Picture(run_id)
        self.way_on = WayOn()

    def row(self) -> Row:
        """The run as lists know it."""
        state = self.picture.state
        return Row(
            self.run_id,
            state.kind,
            state.status,
            "",
            "",
            state.requested_at or 0.0,
            image=self.way_on.image,
            is_comparison=is_comparing(state),
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        row = self.row()
        possible_now = {
            "stop": not possible.why_not_stop(row),
            "resume": not possible.why_not_resume(row),
            "delete": not possible.why_not_delete(row),
            "package": not possible.why_not_package(row),
            "chat": bool(self.way_on.package),
            "publish": bool(self.way_on.image) and row.kind != "publish",
            "image": bool(self.way_on.image),
        }
        is_known = self.picture.read >= 1 and not self.picture.is_gone and bool(row.kind)
        return is_known and possible_now[action] if action in possible_now else True

    @work(thread=True, exclusive=True, exit_on_error=False, group="way-on")
    def find_way_on(self) -> None:
        """Look what the ended run can be used for."""
        rows = listed(self.bench)
        row = next((row for row in rows if row.id == self.run_id), None)
        package = possible.package_of(row, rows) if row else None
        self.post_message(self.WayOnFound(WayOn(package.id if package else "", possible.image_of(row, rows) if row else "")))

    @on(WayOnFound)
    def offer_way_on(self, message: WayOnFound) -> None:
        self.way_on = message.way
        self.refresh_bindings()

    def action_stop(self) -> None:
        self.stop_run(self.row())

    def action_resume(self) -> None:
        self.clear_problem()
        self.resume_run(self.row())

    def action_delete(self) -> None:
        self.delete_run(self.row())

    def action_package(self) -> None:
        self.package_run(self.row())

    def action_chat(self) -> None:
        self.post_message(ChatWith(self.way_on.package))

    def action_publish(self) -> None:
        self.post_message(Publish(self.way_on.image))

    def action_image(self) -> None:
        self.post_message(ShowImage(self.way_on.image))
