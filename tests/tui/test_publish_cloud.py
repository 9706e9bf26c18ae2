"""Publish with a cloud: signing in, choosing where to, what would be registered, how far it is, and the way out of what went wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from tests import fake_cloud
from tests.fake_cloud import ADDRESS, CODE, OTHER, WORKSPACE, FakeCloud, lab, person
from tests.services.paper_registry import PaperRegistry
from tests.tui.looks import poorly_readable, strange_signs
from tests.tui.shelf import add_image, with_content
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from tests.tui.test_publish import NEW, form, registry, row  # noqa: F401  a fixture
from toolkit.core import events as ev
from toolkit.core.cloud import Right, SignInStep
from toolkit.core.run import Run
from toolkit.tui.screens.publish import PublishScreen
from toolkit.tui.widgets.sign_in_dialog import SignInDialog
from toolkit.tui.widgets.target_dialog import TargetDialog

HOUR = 3600
REFUSALS = (
    SignInStep("failed", "az login", "Azure CLI not found on path"),
    SignInStep("failed", "identity of this compute instance", "the endpoint answered 400"),
)
FILES = {"model/model.onnx.data": [50e6, 100e6], "adapters/travel.onnx_adapter": [0, 23e6]}


@pytest.fixture(autouse=True)
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's settings, away from those of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "edge-toolkit" / "settings.toml"


@pytest.fixture
def shelf(stage: Stage) -> Stage:
    """An image with its files, and a cloud where somebody is signed in."""
    image = add_image(stage, 4, {"persona": "p2", "travel": "t1"}, age=4000)
    with_content(stage, image)
    stage.cloud = lab(NOW + HOUR)
    return stage


@pytest.fixture
def nobody(shelf: Stage) -> FakeCloud:
    """The same cloud, which nobody is signed in to."""
    shelf.cloud = lab()
    shelf.cloud.script, shelf.cloud.code_expires = REFUSALS, NOW + 872
    return shelf.cloud


def cloud_of(stage: Stage) -> FakeCloud:
    assert stage.cloud
    return stage.cloud


async def opened(pilot: Pilot, text: str = NEW) -> None:
    await pilot.press("5")
    await until(pilot, lambda: NEW in text_of(pilot.app) and text in text_of(pilot.app))


async def filled(pilot: Pilot, target: str) -> None:
    """Signed in, with a workspace and a registry."""
    await opened(pilot, "ada@contoso.com")
    form(pilot).target.value, form(pilot).store.value = target, WORKSPACE.id
    form(pilot).target.focus()
    await until(pilot, lambda: "Version" in text_of(pilot.app))


async def publishing(pilot: Pilot, shelf: Stage, *events: ev.Event) -> Run:
    """A publishing that was started by the key, in which this happened."""
    await pilot.press("ctrl+r")
    await until(pilot, lambda: [run for run in shelf.bench.runs() if run.kind == "publish"] and shelf.engine.starts)
    run = shelf.bench.runs()[-1]
    shelf.engine.says(run, *events)
    return run


def published(shelf: Stage) -> list[Run]:
    return [run for run in shelf.bench.runs() if run.kind == "publish"]


def options(run: Run) -> dict:
    return run.request["steps"][0]["options"]


# -- signing in ---------------------------------------------------------------------------------------------------------


async def test_who_is_signed_in_is_shown_without_being_asked_for(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "ada@contoso.com by device code, tenant 72f988bf..")
        assert not form(pilot).sign_in.display and "^g" not in text_of(pilot.app)


async def test_the_screen_is_there_before_a_slow_cloud_has_answered(shelf: Stage) -> None:
    cloud_of(shelf).is_known.clear()
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "looking who is signed in")
        form(pilot).target.value = "127.0.0.1:1/travel"
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "127.0.0.1:1 does not answer" in text_of(pilot.app))
        cloud_of(shelf).is_known.set()
        await until(pilot, lambda: "ada@contoso.com" in text_of(pilot.app))


async def test_every_source_is_told_with_its_reason_and_then_the_code(shelf: Stage, nobody: FakeCloud) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "nobody is signed in")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: f"{CODE}    14:32 left" in text_of(pilot.app))
        shown = text_of(pilot.app)
        assert "Azure CLI not found on path" in shown and "the endpoint answered 400" in shown and ADDRESS in shown
        await pilot.press("y")
        assert pilot.app.clipboard == CODE
        await pilot.press("u")
        assert pilot.app.clipboard == ADDRESS
        nobody.approve(person(NOW + HOUR))
        await until(pilot, lambda: "ada@contoso.com" in text_of(pilot.app) and not isinstance(pilot.app.screen, SignInDialog))
        assert form(pilot).query_one("#choose", Button).has_focus, "the next thing to do is to choose a workspace"


async def test_a_sign_in_that_is_left_ends_and_changes_nothing(shelf: Stage, nobody: FakeCloud) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "nobody is signed in")
        await pilot.click(form(pilot).sign_in)
        await until(pilot, lambda: CODE in text_of(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: nobody.left == 1 and isinstance(pilot.app.screen, PublishScreen))
        assert nobody.signed_in is None and "nobody is signed in" in text_of(pilot.app)


async def test_a_refused_code_is_told_and_another_can_be_had(shelf: Stage, nobody: FakeCloud) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "nobody is signed in")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: CODE in text_of(pilot.app))
        nobody.approve()
        await until(
            pilot,
            lambda: (
                "the code was refused" in text_of(pilot.app) and "r: try again" in text_of(pilot.app) and CODE not in text_of(pilot.app)
            ),
        )
        await pilot.press("r")
        await until(pilot, lambda: CODE in text_of(pilot.app) and "the code was refused" not in text_of(pilot.app))
        nobody.approve(person(NOW + HOUR))
        await until(pilot, lambda: "ada@contoso.com" in text_of(pilot.app))


async def test_an_expired_code_says_so_and_another_can_be_had(shelf: Stage, nobody: FakeCloud) -> None:
    nobody.code_expires = NOW - 1
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "nobody is signed in")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "It has expired" in text_of(pilot.app))
        nobody.code_expires = NOW + 600
        await pilot.press("r")
        await until(pilot, lambda: f"{CODE}    10:00 left" in text_of(pilot.app) and nobody.left == 1)


async def test_a_cloud_that_does_not_answer_is_told_in_its_line_and_hinders_nothing(shelf: Stage, registry: PaperRegistry) -> None:  # noqa: F811
    cloud_of(shelf).is_away = True
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "management.azure.com does not answer")
        form(pilot).target.value, form(pilot).user.value, form(pilot).password.value = f"{registry.address}/travel", "edge", "not-a-secret"
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "6 of 6 layers move" in text_of(pilot.app))


async def test_without_azure_one_line_says_how_to_get_it_and_nothing_else_is_different(shelf: Stage) -> None:
    shelf.cloud, shelf.workspace = None, WORKSPACE.id
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "`edge login` says what to install")
        assert "Workspace" not in text_of(pilot.app) and "Version" not in text_of(pilot.app)
        assert not form(pilot).sign_in.display
        before = text_of(pilot.app)
        await pilot.press("ctrl+g", "ctrl+o")
        await pilot.pause()
        assert isinstance(pilot.app.screen, PublishScreen) and text_of(pilot.app) == before
        form(pilot).target.value = "127.0.0.1:1/travel"
        await publishing(pilot, shelf)
        assert [step["kind"] for step in published(shelf)[0].request["steps"]] == ["push", "verify"]


# -- where to -----------------------------------------------------------------------------------------------------------


async def test_a_workspace_is_found_by_typing_and_its_registry_is_taken(shelf: Stage, settings_file: Path) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "ada@contoso.com")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(pilot.app.screen, TargetDialog) and "speech-ws" in text_of(pilot.app))
        assert "team.azurecr.io" in text_of(pilot.app) and "westeurope" in text_of(pilot.app)
        await pilot.press(*"travel")
        await until(pilot, lambda: "speech-ws" not in text_of(pilot.app) and "travel-ws" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: form(pilot).store.value == WORKSPACE.id and form(pilot).target.value == "labacr.azurecr.io/travel")
        await until(pilot, settings_file.exists)
        assert tomllib.loads(settings_file.read_text()) == {"workspace": WORKSPACE.id}


async def test_the_registry_of_a_workspace_is_only_offered_where_another_is_written(shelf: Stage) -> None:
    async with shelf.app().run_test(size=LARGE) as pilot:
        await opened(pilot, "ada@contoso.com")
        form(pilot).target.value = "mine.azurecr.io/travel"
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "travel-ws" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "up in Registry: labacr.azurecr.io/travel" in text_of(pilot.app))
        assert form(pilot).target.value == "mine.azurecr.io/travel"
        form(pilot).target.focus()
        await pilot.press("up")
        await until(pilot, lambda: form(pilot).target.value == "labacr.azurecr.io/travel")


async def test_arrows_choose_a_registry_too_and_it_is_remembered(shelf: Stage, settings_file: Path) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "ada@contoso.com")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "team.azurecr.io" in text_of(pilot.app))
        await pilot.press("down", "down", "down", "enter")
        await until(pilot, lambda: form(pilot).target.value == "team.azurecr.io/travel")
        await until(pilot, settings_file.exists)
        assert tomllib.loads(settings_file.read_text()) == {"registry": "team.azurecr.io"} and form(pilot).store.value == ""


async def test_what_could_not_be_listed_is_told_beside_what_could(shelf: Stage) -> None:
    cloud = cloud_of(shelf)
    cloud.seen = fake_cloud.Targets(workspaces=(OTHER,), problems=("subscription 1111: you may not list its registries",))
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "ada@contoso.com")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "speech-ws" in text_of(pilot.app) and "you may not list its registries" in text_of(pilot.app))
        await pilot.press(*"xyz")
        await until(pilot, lambda: "Nothing fits." in text_of(pilot.app))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, PublishScreen))


async def test_the_workspace_of_the_settings_is_there_at_once(shelf: Stage) -> None:
    shelf.workspace = WORKSPACE.id
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, WORKSPACE.id)
        await until(pilot, lambda: "Version" in text_of(pilot.app) and "Publish" in str(form(pilot).query_one("#push", Button).label))


async def test_a_malformed_workspace_is_told_at_its_field(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "ada@contoso.com")
        form(pilot).store.value = "travel-ws"
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "'travel-ws' names no workspace." in text_of(pilot.app) and form(pilot).store.has_focus)


# -- the plan -----------------------------------------------------------------------------------------------------------


async def test_the_plan_tells_layers_the_next_version_and_rights(shelf: Stage, registry: PaperRegistry) -> None:  # noqa: F811
    cloud_of(shelf).model_registry(WORKSPACE.id).holds("travel", "3", "other")
    async with shelf.app().run_test(size=LARGE) as pilot:
        await filled(pilot, f"{registry.address}/travel")
        form(pilot).user.value, form(pilot).password.value = "edge", "not-a-secret"
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "travel:4 would be registered in travel-ws." in text_of(pilot.app))
        assert "6 of 6 layers move" in text_of(pilot.app) and "Held: register models" in text_of(pilot.app)
        assert not published(shelf), "a plan moves nothing"


async def test_content_that_is_registered_already_is_told(shelf: Stage) -> None:
    cloud_of(shelf).model_registry(WORKSPACE.id).holds("travel", "7", "c" * 64)
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "travel:7 holds this very content already" in text_of(pilot.app))


async def test_a_missing_right_names_the_role_to_ask_for_and_nothing_moves(shelf: Stage) -> None:
    cloud_of(shelf).allowed = [Right("register models", "workspace travel-ws", "AzureML Data Scientist", False)]
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "Ask for the role AzureML Data Scientist there." in text_of(pilot.app))
        assert form(pilot).store.has_focus and "may not register models" in text_of(pilot.app)


async def test_a_version_that_is_taken_is_told_at_its_field_before_anything_moves(shelf: Stage) -> None:
    cloud_of(shelf).model_registry(WORKSPACE.id).holds("travel", "3", "other")
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "")
        form(pilot).version.value = "3"
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "travel:3 is there with other content." in text_of(pilot.app))
        assert form(pilot).version.has_focus and form(pilot).version.has_class("-invalid")
        assert "--version" not in text_of(pilot.app), "no option of a command line helps here"


# -- publishing ---------------------------------------------------------------------------------------------------------


async def test_all_that_was_chosen_goes_into_the_request(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "127.0.0.1:5/travel")
        form(pilot).model.value, form(pilot).version.value = "ft-for-travel", "2"
        await pilot.click(form(pilot).query_one("#details", Button))
        await until(pilot, lambda: "The model in the store" in text_of(pilot.app))
        pilot.app.screen.query_one("#description", Input).value = "Knows the timetable"
        pilot.app.screen.query_one("#tags", Input).value = "team=edge 'note=two words'"
        await pilot.press("enter")
        await until(pilot, lambda: "a description, 2 tags" in text_of(pilot.app))
        run = await publishing(pilot, shelf)
        asked = options(run)
        assert (asked["store"], asked["model"], asked["version"]) == (WORKSPACE.id, "ft-for-travel", "2")
        assert asked["description"] == "Knows the timetable" and asked["tags"] == {"team": "edge", "note": "two words"}
        assert [step["kind"] for step in run.request["steps"]] == ["rights", "push", "verify", "register", "link"]


async def test_a_tag_that_is_no_pair_is_told_in_the_dialog(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "")
        await pilot.click(form(pilot).query_one("#details", Button))
        await until(pilot, lambda: "The model in the store" in text_of(pilot.app))
        pilot.app.screen.query_one("#tags", Input).value = "edge"
        await pilot.press("enter")
        await until(pilot, lambda: "'edge' is no tag. Write KEY=VALUE." in text_of(pilot.app))


async def test_without_a_registry_the_model_alone_is_registered(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "")
        run = await publishing(pilot, shelf)
        assert [step["kind"] for step in run.request["steps"]] == ["rights", "register"]


async def test_layers_then_files_move_and_both_addresses_are_there_at_the_end(shelf: Stage) -> None:
    release, model = f"127.0.0.1:5/travel@sha256:{'ab' * 32}", "azureml:travel:4"
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "127.0.0.1:5/travel")
        run = await publishing(pilot, shelf, ev.StepStarted(step="rights", at=NOW - 60))
        await until(pilot, lambda: "rights ..." in text_of(pilot.app) and "whether it is allowed" in text_of(pilot.app))
        layers = {"runtime 1": [30e6, 30e6], "model": [40e6, 100e6]}
        moving = ev.StepProgress(step="push", at=NOW, done=70e6, total=130e6, unit="bytes", parts=layers)
        shelf.engine.says(run, ev.StepFinished(step="rights", seconds=1), ev.StepStarted(step="push", at=NOW - 9), moving)
        await until(pilot, lambda: "moving" in row(pilot, "model") and "ETA 7.7 s" in text_of(pilot.app))
        pushed = ev.StepFinished(step="push", seconds=9, metrics={"layers_pushed": 1, "layers_already_there": 1})
        left = ev.ArtifactWritten(step="verify", kind="release", path=release, bytes=130_000_000)
        uploading = ev.StepProgress(
            step="register", at=NOW, done=50e6, total=123e6, unit="bytes", message="0 of 2 files there", parts=FILES
        )
        shelf.engine.says(run, pushed, ev.StepStarted(step="verify"), left, ev.StepFinished(step="verify", seconds=1))
        shelf.engine.says(run, ev.StepStarted(step="register", at=NOW - 10), uploading)
        await until(pilot, lambda: "moving" in row(pilot, "model.onnx.data") and "waiting" in row(pilot, "travel.onnx_adapter"))
        assert "Uploading 50.0 MB of at most 123.0 MB" in text_of(pilot.app) and "push done" in text_of(pilot.app)
        done = ev.StepFinished(step="register", seconds=9, metrics={"bytes_sent": 123e6})
        made = ev.ArtifactWritten(step="register", kind="registered", path=model, bytes=123_000_000)
        shelf.engine.says(run, made, done, ev.StepStarted(step="link"), ev.StepFinished(step="link", seconds=1), ev.RunFinished(seconds=70))
        await until(pilot, lambda: model in text_of(pilot.app) and "Registered; 123.0 MB uploaded" in text_of(pilot.app))
        await pilot.press("y")
        assert pilot.app.clipboard == f"{release}\n{model}"


# -- the way out --------------------------------------------------------------------------------------------------------

FAILURES = {
    "SignInError": ("rights", "sign-in"),
    "RightsMissing": ("rights", "store"),
    "VersionTaken": ("register", "version"),
    "RegistryDenied": ("push", "user"),
}


@pytest.mark.parametrize("cause", FAILURES)
async def test_a_failure_puts_the_cursor_where_the_remedy_is(shelf: Stage, cause: str) -> None:
    step, field = FAILURES[cause]
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "127.0.0.1:5/travel")
        failed = ev.StepFailed(step=step, error="It did not go.", hint="Use --an-option.", cause=cause)
        run = await publishing(pilot, shelf, ev.StepStarted(step=step), failed)
        shelf.engine.dies(run, 1)
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == field)
        assert "^r goes on" in text_of(pilot.app)
        await until(pilot, lambda: not run.is_locked())
        if cause == "SignInError":
            assert form(pilot).sign_in.display
        if cause == "RegistryDenied":
            form(pilot).user.value, form(pilot).password.value = "edge", "not-a-secret"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: shelf.engine.starts == [run.id, run.id])


async def test_another_version_after_one_that_was_taken_is_another_run(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "127.0.0.1:5/travel")
        taken = ev.StepFailed(step="register", error="travel:3 is there.", hint="", cause="VersionTaken")
        run = await publishing(pilot, shelf, ev.StepStarted(step="register"), taken)
        shelf.engine.dies(run, 1)
        await until(pilot, lambda: form(pilot).version.has_focus)
        await pilot.press("8", "ctrl+r")
        await until(pilot, lambda: len(published(shelf)) == 2)
        assert options(published(shelf)[1])["version"] == "8"


async def test_publishing_while_nobody_is_signed_in_starts_nothing_and_leads_to_the_sign_in(shelf: Stage, nobody: FakeCloud) -> None:
    shelf.workspace = WORKSPACE.id
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "nobody is signed in")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: form(pilot).sign_in.has_focus and "Enter signs in" in text_of(pilot.app))
        assert not published(shelf)
        await pilot.press("enter")
        await until(pilot, lambda: CODE in text_of(pilot.app))
        nobody.approve(person(NOW + HOUR))
        await until(pilot, lambda: "ada@contoso.com" in text_of(pilot.app))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(published(shelf)) == 1)


async def test_what_a_cloud_says_cannot_draw_on_the_terminal(shelf: Stage, nobody: FakeCloud) -> None:
    nobody.script = (SignInStep("failed", "az login", "bad \x1b[31m\u202enews"),)
    async with shelf.app().run_test(size=SMALL) as pilot:
        await opened(pilot, "nobody is signed in")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "bad [31m<U+202E>news" in text_of(pilot.app))
        assert "\x1b" not in text_of(pilot.app)


async def test_a_cloud_registry_that_refuses_a_signed_in_person_points_at_the_registry(shelf: Stage) -> None:
    async with shelf.app().run_test(size=SMALL) as pilot:
        await filled(pilot, "labacr.azurecr.io/travel")
        denied = ev.StepFailed(step="push", error="The registry refused.", hint="Use --an-option.", cause="RegistryDenied")
        run = await publishing(pilot, shelf, ev.StepStarted(step="push"), denied)
        shelf.engine.dies(run, 1)
        await until(pilot, lambda: form(pilot).target.has_focus and "AcrPush" in text_of(pilot.app))
        assert form(pilot).user.placeholder == "none needed"


@pytest.mark.parametrize("theme", ["edge-dark", "edge-light"])
async def test_a_linux_console_can_draw_the_dialogs_and_everybody_can_read_them(shelf: Stage, theme: str) -> None:
    cloud = cloud_of(shelf)
    cloud.script, cloud.code_expires = REFUSALS, NOW + 872
    async with shelf.app().run_test(size=SMALL) as pilot:
        pilot.app.theme = theme
        await opened(pilot, "ada@contoso.com")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "team.azurecr.io" in text_of(pilot.app))
        assert not poorly_readable(pilot.app) and not strange_signs(pilot.app)
        await pilot.press("escape")
        pilot.app.push_screen(SignInDialog(shelf.bench))
        await until(pilot, lambda: CODE in text_of(pilot.app) and "█" in text_of(pilot.app))
        assert not poorly_readable(pilot.app) and not strange_signs(pilot.app)
