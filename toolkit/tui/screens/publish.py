"""Publish: an image to a registry, its model to a store; what would move, how far it is, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable

from textual import getters, on, work
from textual.binding import Binding
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import Worker, WorkerState, get_current_worker

from toolkit.core import lifecycle
from toolkit.core.cloud import is_cloud_registry
from toolkit.core.publish_start import PublishWish, in_registry, start_publish
from toolkit.core.publishing import earlier_targets, under_way
from toolkit.core.registry_access import as_secrets
from toolkit.core.run import Run, RunState
from toolkit.core.stock import Stock, stock
from toolkit.core.watch import Picture, Watcher, watch
from toolkit.core.whole_plan import WholePlan, make_whole_plan
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.messages import ShowPlace, ShowRun
from toolkit.tui.screens.publish_cloud import MISSING, UNKNOWN
from toolkit.tui.screens.publish_remedies import PublishRemedies
from toolkit.tui.widgets.dialogs import COPIED
from toolkit.tui.widgets.moves import Moves
from toolkit.tui.widgets.publish_form import Asked, PublishForm
from toolkit.tui.widgets.publish_words import to_copy

WAY = "Enter or ^l shows what would move; ^r pushes."


class PublishScreen(PublishRemedies):
    place = "publish"
    CSS_PATH = "publish.tcss"
    BINDINGS = [
        Binding("ctrl+l", "plan", "Plan"),
        Binding("ctrl+r", "push", "Publish"),
        Binding("ctrl+g", "sign_in", "Sign in"),
        Binding("ctrl+o", "choose", "Targets"),
        Binding("y", "copy", "Copy"),
        Binding("m", "details", "More", show=False),
        Binding("o", "show_run", "Its run"),
        Binding("escape", "leave", "Back", show=False),
    ]
    moves = getters.query_one(Moves)

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self._wanted = ""
        """Image chosen by the app before the list was there."""
        self._came_from: tuple[Message, ...] = ()
        """Requests that lead back; empty: by the top line."""
        self._run: Run | None = None
        """The push that is shown."""
        self._state = RunState()
        self._has_no_engine = False
        self._timer: Timer | None = None

    def body(self) -> Iterable[Widget]:
        yield PublishForm(classes="panel")
        yield Moves(classes="panel")

    def on_mount(self) -> None:
        self.moves.say(WAY)
        self.form.store.value = self.bench.settings.workspace
        self.form.images.focus()  # no field to write in: digits still go to places

    def choose(self, reference: str, came_from: tuple[Message, ...] = ()) -> None:
        """Take this image, now or as soon as it is listed; leaving leads back to where it was asked for."""
        self._wanted, self._came_from = reference, came_from
        if self.is_mounted:
            self._look()

    # -- what there is ----------------------------------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        self._look()
        self.look_who()
        if self._run:
            self._follow(self._run)

    def on_screen_suspend(self) -> None:
        for group in ("look", "follow", "who"):  # the push itself goes on
            self.workers.cancel_group(self, group)
        if self._timer:
            self._timer.stop()

    @work(thread=True, exclusive=True, exit_on_error=False, group="look")
    def _look(self) -> None:
        worker = get_current_worker()
        found, runs = stock(self.bench), self.bench.runs()
        moving = None if self._run else under_way(runs)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._looked, found, earlier_targets(runs), moving)

    def _looked(self, found: Stock, targets: list[str], moving: Run | None) -> None:
        if found.problem:
            self.tell_problem(found.problem)
            self._timer = self.set_timer(self.pace.list_seconds, self._look) if self.is_current else None
        elif self._has_no_engine:
            self.clear_problem()
        self._has_no_engine = found.problem is not None
        wanted = found.find(self._wanted) if self._wanted else None
        can_register = self.cloud_is not in (UNKNOWN, MISSING)  # a folder goes nowhere else
        listed = sorted((item for item in found.items if can_register or not item.is_folder), key=lambda item: item.is_folder)
        self.form.offer({item.reference: item.recipe for item in listed}, wanted.reference if wanted else "")
        self._wanted = "" if wanted else self._wanted
        self.form.remember(targets, in_registry(self.bench.settings.registry))
        if moving:
            self.moves.focus()
            self._show(moving)

    # -- plan and push ----------------------------------------------------------------------------------------------

    @on(PublishForm.Wrong)
    def tell_wrong(self, message: PublishForm.Wrong) -> None:
        self.tell_problem(message.problem)

    @on(PublishForm.PlanWanted)
    def action_plan(self) -> None:
        asked = None if self._is_under_way else self.form.asked()
        if asked:
            self.clear_problem()
            self.moves.say("Asking the registry ..." if not asked.wish.store else "Asking the registry and the store of models ...")
            self._plan(asked)

    @work(thread=True, exclusive=True, exit_on_error=False, group="plan")
    def _plan(self, asked: Asked) -> None:
        worker = get_current_worker()
        plan = make_whole_plan(self.bench, asked.wish, asked.credentials)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._planned, plan)

    def _planned(self, plan: WholePlan) -> None:
        if not self._is_under_way:
            self.workers.cancel_group(self, "follow")
            self.moves.show_plan(plan)
            self.point_at_what_the_plan_lacks(plan)

    @on(PublishForm.PushWanted)
    def action_push(self) -> None:
        asked = None if self._is_under_way else self.form.asked()
        if not asked:
            return
        self.clear_problem()
        self.form.forget_password()  # from here on it is in memory only, on its way through a pipe
        self.moves.focus()
        self.moves.say("Starting ...")
        self._push(asked, self._run if self._can_go_on(asked) else None)

    def _can_go_on(self, asked: Asked) -> bool:
        """The publishing that is shown did not come to its end, and the form still asks for the same."""
        if self._run is None or self._state.status not in ("failed", "stopped", "interrupted"):
            return False
        return _is_same(self._run.request["steps"][0]["options"], asked.wish)

    @work(thread=True, exclusive=True, exit_on_error=False, group="push")
    def _push(self, asked: Asked, begun: Run | None) -> None:
        secrets = as_secrets(asked.credentials)
        if asked.wish.store or (is_cloud_registry(asked.wish.target.partition("/")[0]) and not asked.credentials):
            self.bench.cloud().account()  # better here than in a run that cannot go far
        if begun:
            lifecycle.resume(self.bench.host_driver(secrets), begun)
        else:
            begun = start_publish(self.bench, asked.wish, secrets)
        self.app.call_from_thread(self._show, begun)

    # -- the push under way -----------------------------------------------------------------------------------------

    @property
    def _is_under_way(self) -> bool:
        return self._run is not None and not self._state.has_ending

    def _show(self, run: Run) -> None:
        self._run, self._state = run, RunState()
        self._follow(run)

    @work(thread=True, exclusive=True, exit_on_error=False, group="follow")
    def _follow(self, run: Run) -> None:
        worker, is_over = get_current_worker(), [False]

        def tell(picture: Picture) -> None:
            if not worker.is_cancelled:
                is_over[0] = picture.state.has_ending
                self.app.call_from_thread(self._pictured, run, picture)

        watch(Watcher(self.bench, run), tell, lambda: worker.is_cancelled or is_over[0], lambda: self.pace.frame_seconds)

    def _pictured(self, run: Run, picture: Picture) -> None:
        if run != self._run:
            return
        self._state = picture.state
        if picture.is_gone:
            self._run = None
            self.moves.say(f"The folder of {run.id} was deleted.")
            return
        self.moves.show_run(run.id, picture.state, picture.state.last_at or self.bench.clock())
        self.refresh_bindings()
        if picture.state.has_ending and picture.state.status != "finished":
            self.tell_failure(picture.state)

    @on(Worker.StateChanged)
    def put_the_way_out_under_the_cursor(self, event: Worker.StateChanged) -> None:
        """What failed is told by the base; what this screen can put right, here."""
        if event.state is not WorkerState.ERROR:
            return
        if event.worker.group in ("plan", "push"):
            self.moves.say(WAY)
        error = event.worker.error
        if isinstance(error, ToolkitError) and self.tell_remedy(type(error).__name__, error):
            event.prevent_default()

    # -- what came of it --------------------------------------------------------------------------------------------

    def action_copy(self) -> None:
        if made := to_copy(self._state):
            self.app.copy_to_clipboard(made)
            self.notify(COPIED, markup=False)

    def action_show_run(self) -> None:
        if self._run:
            self.post_message(ShowRun(self._run.id))

    def action_leave(self) -> None:
        """Out of a field, then back to where one came from."""
        if not isinstance(self.focused, Moves):
            self.moves.focus()
            return
        for request in self._came_from or (ShowPlace("home"),):
            self.post_message(request)
        self._came_from = ()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("plan", "push") and self._is_under_way:
            return None
        if action == "copy":
            return True if to_copy(self._state) else None
        if action == "show_run":
            return None if self._run is None else True
        return super().check_action(action, parameters)


def _is_same(options: dict, wish: PublishWish) -> bool:
    """A run was asked the same; who is asked to let us in may differ."""
    asked = (wish.image, wish.target, wish.store, wish.model, wish.version, wish.description, dict(wish.tags))
    known = ("image", "target", "store", "model", "version", "description", "tags")
    return (
        tuple(options.get(key) or ({} if key == "tags" else "") for key in known) == asked
        and options.get("type", wish.model_type) == wish.model_type
    )
