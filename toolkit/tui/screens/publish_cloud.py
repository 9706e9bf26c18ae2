"""The cloud's side of publishing: who is signed in, signing in, choosing a workspace, and what the person chose, remembered."""

from __future__ import annotations

from textual import getters, on, work
from textual.widgets import Button
from textual.worker import get_current_worker

from toolkit.core.choices import remember
from toolkit.core.cloud import Account, Workspace
from toolkit.errors import CloudError, CloudMissing, SignInError
from toolkit.tui.harmless import harmless_line
from toolkit.tui.screens.base import EdgeScreen
from toolkit.tui.widgets.model_dialog import ModelDialog
from toolkit.tui.widgets.publish_form import PublishForm
from toolkit.tui.widgets.publish_words import who
from toolkit.tui.widgets.sign_in_dialog import SignInDialog
from toolkit.tui.widgets.target_dialog import TargetDialog

UNKNOWN, MISSING, LOOKING, OUT, IN = "", "missing", "looking", "out", "in"
"""What is known of the cloud: nothing yet, not installed, being asked, nobody is signed in, somebody is."""
LOOKING_TOLD = "Azure: looking who is signed in ..."
MISSING_TOLD = "Azure: not installed here; `edge login` says what to install."
OUT_TOLD = "Azure: nobody is signed in. Its registries and models need it."


class PublishCloud(EdgeScreen):
    """The part of the Publish screen that knows of a cloud. Asking may take seconds, so that all of it is in threads."""

    form = getters.query_one(PublishForm)
    cloud_is = UNKNOWN
    account: Account | None = None

    # -- who is signed in -------------------------------------------------------------------------------------------

    def look_who(self) -> None:
        """Unless it is known, and the token still lasts."""
        if self.cloud_is != IN or self.account is None or self.account.expires <= self.bench.clock():
            self._look_who()

    @work(thread=True, exclusive=True, exit_on_error=False, group="who")
    def _look_who(self) -> None:
        worker = get_current_worker()

        def tell(state: str, told: str, account: Account | None = None) -> None:
            if not worker.is_cancelled:
                self.app.call_from_thread(self.told_who, state, told, account)

        try:
            cloud = self.bench.cloud()
            tell(LOOKING, LOOKING_TOLD)
            account = cloud.account()
        except CloudMissing:
            tell(MISSING, MISSING_TOLD)
        except SignInError:
            tell(OUT, OUT_TOLD)
        except CloudError as exc:
            tell(OUT, f"Azure: {exc.message}")
        else:
            tell(IN, "", account)

    def told_who(self, state: str, told: str, account: Account | None = None) -> None:
        if self.cloud_is == IN and state == LOOKING:
            return  # what is known stays until there is something better
        self.cloud_is, self.account = state, account
        told = who(account, self.has_class("-wide")) if account else harmless_line(told)
        has_store = bool(self.form.store.value) and state != MISSING
        self.form.tell_azure(told, can_sign_in=state == OUT, can_register=state == IN or has_store)
        self.refresh_bindings()

    @on(Button.Pressed, "#sign-in")
    @work(exclusive=True, group="ask")
    async def action_sign_in(self) -> None:
        account = await self.app.push_screen_wait(SignInDialog(self.bench, self.bench.settings.tenant))
        if account is None:
            return
        self.clear_problem()
        self.told_who(IN, "", account)
        if not self.form.store.value:
            self.form.query_one("#choose", Button).focus()

    def point_at_sign_in(self) -> None:
        """Nobody is signed in any more."""
        self.told_who(OUT, OUT_TOLD)
        self.form.sign_in.focus()

    # -- what is chosen ---------------------------------------------------------------------------------------------

    @on(Button.Pressed, "#choose")
    @work(exclusive=True, group="ask")
    async def action_choose(self) -> None:
        target = await self.app.push_screen_wait(TargetDialog(self.bench))
        if target is None:
            return
        self.clear_problem()
        if isinstance(target, Workspace):
            self.form.take_store(target.id, target.registry)
            self._remember("workspace", target.id)
        else:
            self.form.target.value = f"{target.login_server}/{self.form.recipe}"
            self._remember("registry", target.login_server)

    @work(thread=True, exit_on_error=False, group="remember")
    def _remember(self, key: str, value: str) -> None:
        remember(key, value)

    @on(Button.Pressed, "#details")
    @work(exclusive=True, group="ask")
    async def action_details(self) -> None:
        details = await self.app.push_screen_wait(ModelDialog(self.form.details))
        if details is not None:
            self.form.take_details(details)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("sign_in", "choose", "details") and self.cloud_is in (UNKNOWN, MISSING):
            return False
        if action == "choose" and self.cloud_is != IN:
            return False
        if action == "sign_in" and self.cloud_is != OUT:
            return False
        return self.form.has_store if action == "details" else True
