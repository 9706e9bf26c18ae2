"""Publish: what would move, how far it is layer by layer, what came of it, and the way out of what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from tests.services.paper_registry import PaperRegistry
from tests.tui.shelf import add_image
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from toolkit.core import events as ev
from toolkit.core.run import Run
from toolkit.tui.messages import Publish, ShowRun
from toolkit.tui.screens.publish import PublishScreen
from toolkit.tui.screens.run import RunScreen
from toolkit.tui.widgets.publish_form import PublishForm

OLD, NEW = "edge-toolkit/travel-cpu:0001", "edge-toolkit/travel-cpu:0004"
PARTS = {"runtime 1": [30e6, 30e6], "model": [40e6, 100e6], "adapter travel": [0, 23e6]}


@pytest.fixture
def registry() -> Iterator[PaperRegistry]:
    service = PaperRegistry(sign_in="basic")
    service.start()
    yield service
    service.stop()


@pytest.fixture
def shelf(stage: Stage) -> Stage:
    add_image(stage, 1, {"persona": "p1", "travel": "t1"}, age=90_000)
    add_image(stage, 4, {"persona": "p2", "travel": "t1"}, age=4000)
    return stage


def form(pilot: Pilot) -> PublishForm:
    return pilot.app.screen.query_one(PublishForm)


async def filled(pilot: Pilot, registry: PaperRegistry, password: str = "not-a-secret") -> None:
    """The form with the newest image, and the registry as this user."""
    await pilot.press("5")
    await until(pilot, lambda: NEW in text_of(pilot.app))
    form(pilot).target.value = f"{registry.address}/travel"
    form(pilot).user.value, form(pilot).password.value = "edge", password
    form(pilot).target.focus()


async def pushing(pilot: Pilot, shelf: Stage, *events: ev.Event) -> Run:
    """A push that was started, in which this happened."""
    await pilot.press("ctrl+r")
    await until(pilot, lambda: [run for run in shelf.bench.runs() if run.kind == "publish"] and shelf.engine.starts)
    run = shelf.bench.runs()[-1]
    shelf.engine.says(run, ev.StepStarted(step="push", at=NOW - 4), *events)
    return run


def row(pilot: Pilot, name: str) -> str:
    """The line of a layer."""
    return next((line for line in text_of(pilot.app).splitlines() if f" {name} " in line), "")


async def test_the_plan_shows_what_is_there_and_what_is_missing(shelf: Stage, registry: PaperRegistry) -> None:
    known = shelf.images.known[OLD].layers
    registry.put("0001", dict.fromkeys(known, 1000))
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        await pilot.press("enter")
        await until(pilot, lambda: "1 of 6 layers move" in text_of(pilot.app))
        assert "missing" in row(pilot, "adapter persona") and "present" in row(pilot, "adapter travel")
        assert "at most 23.3 MB" in text_of(pilot.app) and "The tag is new." in text_of(pilot.app)
        assert not [run for run in shelf.bench.runs() if run.kind == "publish"], "a plan moves nothing"


async def test_the_plan_can_be_asked_for_by_key_and_by_mouse(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "6 of 6 layers move" in text_of(pilot.app))
        registry.put("0004", {"sha256:other": 1})
        await pilot.click(pilot.app.screen.query_one("#plan", Button))
        await until(pilot, lambda: "names another image now" in text_of(pilot.app))


async def test_a_wrong_password_is_told_and_the_cursor_is_where_to_put_it_right(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry, "wrong")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "refused user and password" in text_of(pilot.app))
        assert form(pilot).password.has_focus and form(pilot).password.has_class("-invalid")
        form(pilot).password.value = "not-a-secret"
        await pilot.press("enter")
        await until(pilot, lambda: "layers move" in text_of(pilot.app) and "refused" not in text_of(pilot.app))
        assert not form(pilot).password.has_class("-invalid")


async def test_a_user_without_a_password_is_told_before_anybody_is_asked(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry, "")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "There is no password for edge." in text_of(pilot.app))
        assert form(pilot).password.has_focus and registry.asked == []


async def test_a_malformed_target_is_told_at_its_field_before_any_engine_work(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        form(pilot).target.value = "https://my.azurecr.io/travel"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "is no registry host" in text_of(pilot.app))
        assert form(pilot).target.has_focus and form(pilot).target.has_class("-invalid")
        assert not [run for run in shelf.bench.runs() if run.kind == "publish"]


async def test_a_registry_that_is_away_is_told_with_the_way_out(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        form(pilot).target.value = "127.0.0.1:1/travel"
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "127.0.0.1:1 does not answer" in text_of(pilot.app) and "try again" in text_of(pilot.app))


async def test_a_push_shows_every_layer_as_it_goes(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        run = await pushing(pilot, shelf, ev.StepProgress(step="push", at=NOW, done=40e6, total=123e6, unit="bytes", parts=PARTS))
        await until(pilot, lambda: "moving" in row(pilot, "model"))
        assert "Pushing 40.0 MB of at most 123.0 MB" in text_of(pilot.app)
        assert "there" in row(pilot, "runtime 1") and "waiting" in row(pilot, "adapter travel")
        assert 0 < row(pilot, "model").count("█") < row(pilot, "runtime 1").count("█")
        later = {**PARTS, "model": [100e6, 100e6], "adapter travel": [11e6, 23e6]}
        shelf.engine.says(run, ev.StepProgress(step="push", at=NOW, done=111e6, total=123e6, unit="bytes", parts=later))
        await until(pilot, lambda: "moving" in row(pilot, "adapter travel") and "there" in row(pilot, "model"))


async def test_the_digest_is_there_at_the_end_and_is_copied(shelf: Stage, registry: PaperRegistry) -> None:
    release = f"{registry.address}/travel@sha256:{'ab' * 32}"
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        done = ev.StepFinished(step="push", seconds=4, metrics={"layers_pushed": 1, "layers_already_there": 5})
        left = ev.ArtifactWritten(step="verify", kind="release", path=release, bytes=178_000_000)
        await pushing(pilot, shelf, done, ev.StepStarted(step="verify"), left, ev.RunFinished(seconds=5))
        await until(pilot, lambda: "1 layers moved, 5 were there" in text_of(pilot.app))
        assert "ab" * 30 in text_of(pilot.app).replace("\n", "").replace("│", "").replace(" ", "")
        await pilot.press("y")
        assert pilot.app.clipboard == release


async def test_the_password_goes_through_the_pipe_and_out_of_the_field(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry, "swordfish")
        run = await pushing(pilot, shelf)
        assert form(pilot).password.value == ""
        assert "swordfish" not in "".join(path.read_text() for path in run.folder.rglob("*.json*"))
        assert shelf.secrets == [b'{"username": "edge", "password": "swordfish"}']


async def test_a_push_the_registry_refused_points_at_the_password_and_goes_on_with_the_same_run(
    shelf: Stage, registry: PaperRegistry
) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry, "wrong")
        denied = ev.StepFailed(step="push", error="The registry refused the credentials.", hint="Give others.", cause="RegistryDenied")
        run = await pushing(pilot, shelf, denied)
        shelf.engine.dies(run, 1)
        await until(pilot, lambda: "refused user and password" in text_of(pilot.app) and form(pilot).password.has_focus)
        assert "Type the password again, ^r goes on." in text_of(pilot.app) and "Give others." not in text_of(pilot.app)
        form(pilot).password.value = "not-a-secret"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: shelf.engine.starts == [run.id, run.id])
        await until(pilot, lambda: "running" in text_of(pilot.app))


async def test_after_a_failure_no_layer_waits(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        gone = ev.StepFailed(step="push", error="The registry went away.", hint="Wait.", cause="PublishError")
        await pushing(pilot, shelf, ev.StepProgress(step="push", at=NOW, done=40e6, total=123e6, unit="bytes", parts=PARTS), gone)
        await until(pilot, lambda: "The registry went away." in text_of(pilot.app) and "not sent" in row(pilot, "model"))
        assert "there" in row(pilot, "runtime 1") and "not sent" in row(pilot, "adapter travel")


async def test_escape_leads_back_to_the_images_it_was_asked_from(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "Since" in text_of(pilot.app))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(pilot.app.screen, PublishScreen) and form(pilot).image == NEW)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "3[Images]" in text_of(pilot.app))


async def test_escape_leads_back_to_the_run_it_was_asked_from_and_from_there_to_the_runs(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        pilot.app.screen.post_message(ShowRun("0002-package-travel"))
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        pilot.app.screen.post_message(Publish(NEW))
        await until(pilot, lambda: isinstance(pilot.app.screen, PublishScreen) and form(pilot).image == NEW)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.run_id == "0002-package-travel")
        await pilot.press("escape")
        await until(pilot, lambda: "1[Runs]" in text_of(pilot.app) and not isinstance(pilot.app.screen, RunScreen))


async def test_a_push_to_another_place_is_another_run(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        run = await pushing(pilot, shelf, ev.StepFailed(step="push", error="The registry went away.", hint="Wait.", cause="PublishError"))
        shelf.engine.dies(run, 1)
        await until(pilot, lambda: "The registry went away." in text_of(pilot.app))
        form(pilot).target.value = f"{registry.address}/elsewhere"
        form(pilot).password.value = "not-a-secret"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(shelf.engine.starts) == 2)
        assert shelf.engine.starts[1] != run.id


async def test_leaving_stops_nothing_and_coming_back_shows_it_again(shelf: Stage, registry: PaperRegistry) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, registry)
        run = await pushing(pilot, shelf, ev.StepProgress(step="push", at=NOW, done=4e7, total=1e8, unit="bytes", parts=PARTS))
        await until(pilot, lambda: "moving" in row(pilot, "model"))
        await pilot.press("3")
        await until(pilot, lambda: not isinstance(pilot.app.screen, PublishScreen))
        shelf.engine.says(run, ev.StepProgress(step="push", at=NOW, done=1e8, total=1e8, unit="bytes", parts={"model": [1e8, 1e8]}))
        await pilot.press("5")
        await until(pilot, lambda: "there" in row(pilot, "model"))
        assert run.id in shelf.engine.alive


async def test_a_push_that_another_front_end_started_is_shown(shelf: Stage, registry: PaperRegistry) -> None:
    run = shelf.add_run("publish", steps=("push", "verify"))
    shelf.drive(run)
    shelf.engine.says(run, ev.StepStarted(step="push"), ev.StepProgress(step="push", done=1, total=2, unit="bytes", parts=PARTS))
    async with shelf.app().run_test(size=SMALL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "moving" in row(pilot, "model") and run.id in text_of(pilot.app))


async def test_an_image_is_chosen_by_the_app(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        pilot.app.screen.post_message(Publish(OLD))
        await until(pilot, lambda: isinstance(pilot.app.screen, PublishScreen) and form(pilot).image == OLD)


async def test_earlier_targets_are_offered_and_the_last_is_there_at_once(shelf: Stage) -> None:
    for target in ("one.azurecr.io/travel:0001", "two.azurecr.io/travel:0001", "two.azurecr.io/travel:0002"):
        request = shelf.add_run("publish", steps=("push",)).folder / "request.json"
        request.write_text(request.read_text().replace('"options": {}', f'"options": {{"target": "{target}"}}'))
    async with shelf.app().run_test(size=SMALL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: form(pilot).target.value == "two.azurecr.io/travel")
        form(pilot).target.focus()
        await pilot.press("up", "up")
        await until(pilot, lambda: form(pilot).target.value == "one.azurecr.io/travel")
        await pilot.press("down", "down")
        await until(pilot, lambda: form(pilot).target.value == "two.azurecr.io/travel")


async def test_user_and_password_of_the_environment_are_taken(
    shelf: Stage, registry: PaperRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_REGISTRY_USERNAME", "edge")
    monkeypatch.setenv("EDGE_REGISTRY_PASSWORD", "not-a-secret")
    async with shelf.app().run_test(size=LARGE) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: NEW in text_of(pilot.app))
        assert form(pilot).user.value == "edge" and form(pilot).password.value == ""
        form(pilot).target.value = f"{registry.address}/travel"
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "layers move" in text_of(pilot.app))


async def test_without_an_image_it_says_what_to_do_first(stage: Stage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "no image yet: package a build" in text_of(pilot.app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "There is no image to publish." in text_of(pilot.app))


async def test_an_engine_that_is_down_is_told_and_its_images_come_back_with_it(shelf: Stage) -> None:
    shelf.is_engine_down = True
    async with shelf.app().run_test(size=SMALL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "does not answer" in text_of(pilot.app))
        shelf.is_engine_down = False
        await until(pilot, lambda: NEW in text_of(pilot.app) and "does not answer" not in text_of(pilot.app))


async def test_escape_leaves_the_field_and_then_the_screen(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: NEW in text_of(pilot.app))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "1[Runs]" in text_of(pilot.app))


async def test_from_the_screen_as_it_opens_every_place_is_one_digit_away(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: NEW in text_of(pilot.app))
        await pilot.press("6")
        await until(pilot, lambda: "6[Doctor]" in text_of(pilot.app))
