"""What is done to a run from the list: resume, stop, delete, package; each in a thread, each failure told."""

from __future__ import annotations

import os

from textual import work

from toolkit.core import lifecycle
from toolkit.core.files import as_size, folder_bytes
from toolkit.core.listing import Row
from toolkit.core.packagable import Packagable, packagable
from toolkit.core.registry_access import PASSWORD_VARIABLE, USERNAME_VARIABLE, as_secrets, chosen
from toolkit.core.targets import start_package
from toolkit.tui.messages import ShowRun
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.widgets.dialogs import AskText, Confirm


class RunActions(EdgeScreen):
    """A screen that acts on runs; `look_now` is called after each deed."""

    def look_now(self) -> None: ...

    # -- resume -------------------------------------------------------------------------------------------------------

    @work(exit_on_error=False, group="ask")
    async def resume_run(self, row: Row) -> None:
        """A publishing run needs its credentials again: they were never kept."""
        if row.kind != "publish":
            self._resume(row)
            return
        username = self._username_of(row) or os.environ.get(USERNAME_VARIABLE, "")
        if not username:
            note = f"Empty where the registry wants none. {USERNAME_VARIABLE} saves the question."
            username = await self.app.push_screen_wait(AskText(f"User of the registry of {row.image}", note=note))
        if username is None:
            return
        password = os.environ.get(PASSWORD_VARIABLE, "")
        if username and not password:
            note = f"It is kept nowhere. {PASSWORD_VARIABLE} saves the question."
            password = await self.app.push_screen_wait(AskText(f"Password of {username}", note=note, is_secret=True))
        if password is not None:
            self._resume(row, username, password)

    def _username_of(self, row: Row) -> str:
        return self.bench.run(row.id).request["steps"][0]["options"].get("username", "")

    @work(thread=True, exit_on_error=False, group="act")
    def _resume(self, row: Row, username: str = "", password: str = "") -> None:
        run = self.bench.run(row.id)
        engine = self.bench.host_driver(as_secrets(chosen(username, password))) if row.kind == "publish" else self.bench.engine_of(run)
        lifecycle.resume(engine, run)
        self._done(f"{row.id} goes on.")

    # -- stop and delete ----------------------------------------------------------------------------------------------

    @work(exit_on_error=False, group="ask")
    async def stop_run(self, row: Row) -> None:
        if await self.app.push_screen_wait(
            Confirm(f"Stop {row.id}?", "Finished steps are kept. Resumed, the step under way starts again from its beginning.", "Stop")
        ):
            self.notify(f"Stopping {row.id} ...", markup=False)
            self._stop(row)

    @work(thread=True, exit_on_error=False, group="act")
    def _stop(self, row: Row) -> None:
        run = self.bench.run(row.id)
        lifecycle.stop(self.bench.engine_of(run), run)
        self._done(f"Stopped {row.id}; r resumes it.")

    @work(exit_on_error=False, group="ask")
    async def delete_run(self, row: Row) -> None:
        size = "" if row.bytes is None else f" ({as_size(row.bytes)})"
        consequence = "Its folder goes for good. The cache and packaged images stay."
        if await self.app.push_screen_wait(Confirm(f"Delete {row.id}{size}?", consequence, "Delete")):
            self._delete(row)

    @work(thread=True, exit_on_error=False, group="act")
    def _delete(self, row: Row) -> None:
        run = self.bench.run(row.id)
        size = folder_bytes(run.folder)
        lifecycle.remove(self.bench.engine_of(run), run)
        self._done(f"Deleted {row.id} ({as_size(size)}).")

    # -- package ------------------------------------------------------------------------------------------------------

    @work(thread=True, exit_on_error=False, group="act")
    def package_run(self, row: Row) -> None:
        builds = [build for build in packagable(self.bench) if build.run == row.id]
        self.app.call_from_thread(self._ask_package, row, builds)

    def _ask_package(self, row: Row, builds: list[Packagable]) -> None:
        if not builds:
            self.tell_problem(f"{row.id} made nothing for a device known here. Add the device to data/devices, or build again.")
            return
        from toolkit.tui.widgets.package_dialog import PackageDialog

        self.app.push_screen(PackageDialog(builds, self.bench.clock()), lambda answer: answer and self._package(*answer))

    @work(thread=True, exit_on_error=False, group="act")
    def _package(self, build: Packagable, memory_mb: int) -> None:
        run = start_package(self.bench, self.bench.run(build.run), build.device, memory_mb)
        self.post_message(ShowRun(run.id))

    def _done(self, said: str) -> None:
        self.app.call_from_thread(self.notify, said, markup=False)
        self.look_now()
