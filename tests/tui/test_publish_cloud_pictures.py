"""Pictures of publishing with a cloud."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_cloud import CODE, WORKSPACE, lab
from tests.tui.shelf import add_image, with_content
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from tests.tui.test_publish_pictures import PARTS
from toolkit.core import events as ev
from toolkit.core.cloud import Right, SignInStep
from toolkit.core.image_layers import layers_of
from toolkit.core.model_registry import Planned
from toolkit.core.publish_plan import PlannedLayer, PublishPlan
from toolkit.core.run import Run
from toolkit.core.whole_plan import WholePlan
from toolkit.tui.widgets.moves import Moves

TARGET = "labacr.azurecr.io/travel"
STEPS = ("rights", "push", "verify", "register", "link")
HELD = (
    Right("register models", "workspace travel-ws", "AzureML Data Scientist", True),
    Right("push images", "registry labacr.azurecr.io", "AcrPush", True),
)
MISSING = (
    HELD[0],
    Right("write its files", "storage account labstore", "Storage Blob Data Contributor", None, "its rights cannot be looked at"),
    Right("push images", "registry labacr.azurecr.io", "AcrPush", False),
)
FILES = {
    "adapters/persona.onnx_adapter": [23_251_960, 23_251_960],
    "adapters/travel.onnx_adapter": [9_000_000, 23_251_960],
    "device.json": [612, 612],
    "model/genai_config.json": [1_402, 1_402],
    "model/model.onnx": [410_000, 410_000],
    "model/model.onnx.data": [61_000_000, 106_529_968],
}
UPLOADING = ev.StepProgress(
    at=NOW,
    step="register",
    done=93_664_000,
    total=153_400_000,
    unit="bytes",
    message="4 of 6 files there; model/model.onnx.data",
    parts=FILES,
)
REFUSALS = (
    SignInStep(
        "failed",
        "service principal of AZURE_CLIENT_ID",
        "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent is right.",
    ),
    SignInStep("failed", "az login", "Azure CLI not found on path"),
    SignInStep("failed", "identity of this compute instance", "the endpoint answered 400: Bad Request"),
)
sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


@pytest.fixture(autouse=True)
def same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time of day as in Greenwich, and nobody's own settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def shelf(stage: Stage) -> Stage:
    image = add_image(stage, 4, {"persona": "p2", "travel": "t1"}, age=4000)
    with_content(stage, image)
    stage.cloud = lab(NOW + 3600)
    return stage


async def opened(pilot, text: str) -> None:
    await pilot.press("5")
    await until(pilot, lambda: text in text_of(pilot.app) and "travel-cpu:0004" in text_of(pilot.app))


async def chosen(pilot) -> None:
    await opened(pilot, "ada@contoso.com")
    pilot.app.screen.form.take_store(WORKSPACE.id, WORKSPACE.registry)
    await until(pilot, lambda: "Version" in text_of(pilot.app))


async def noticed(pilot, notice: str) -> None:
    """The notice of the run's ending came, and is gone: when it comes is no part of a picture."""
    await until(pilot, lambda: notice in text_of(pilot.app))
    pilot.app.clear_notifications()
    await until(pilot, lambda: notice not in text_of(pilot.app))


def under_way(stage: Stage, *events: ev.Event) -> Run:
    run = stage.add_run("publish", steps=STEPS, age=40)
    stage.drive(run)
    stage.engine.says(run, ev.StepStarted(at=NOW - 39, step="rights"), ev.StepFinished(at=NOW - 38, step="rights", seconds=1), *events)
    return run


def pushed() -> tuple[ev.Event, ...]:
    done = ev.StepFinished(at=NOW - 12, step="push", seconds=26, metrics={"layers_pushed": 3, "layers_already_there": 3})
    left = ev.ArtifactWritten(at=NOW - 11, step="verify", kind="release", path=f"{TARGET}@sha256:{'3f' * 32}", bytes=178_002_089)
    push = ev.StepProgress(
        at=NOW - 12, step="push", done=153e6, total=153e6, unit="bytes", parts={n: [t, t] for n, (_, t) in PARTS.items()}
    )
    verified = ev.StepFinished(at=NOW - 11, step="verify", seconds=1)
    return ev.StepStarted(at=NOW - 38, step="push"), push, done, ev.StepStarted(at=NOW - 12, step="verify"), left, verified


@sizes
def test_nobody_is_signed_in(snap_compare, shelf: Stage, size) -> None:
    shelf.cloud = lab()
    assert snap_compare(shelf.app(), terminal_size=size, run_before=lambda pilot: opened(pilot, "nobody is signed in"))


@sizes
def test_without_azure(snap_compare, shelf: Stage, size) -> None:
    shelf.cloud = None
    assert snap_compare(shelf.app(), terminal_size=size, run_before=lambda pilot: opened(pilot, "says what to install"))


@sizes
def test_the_code_of_a_sign_in(snap_compare, shelf: Stage, size) -> None:
    shelf.cloud = lab()
    shelf.cloud.script, shelf.cloud.code_expires = REFUSALS, NOW + 872

    async def asked(pilot) -> None:
        await opened(pilot, "nobody is signed in")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: f"{CODE}    14:32" in text_of(pilot.app))

    assert snap_compare(shelf.app(), terminal_size=size, run_before=asked)


@sizes
def test_a_sign_in_that_failed(snap_compare, shelf: Stage, size) -> None:
    shelf.cloud = lab()
    shelf.cloud.script = REFUSALS

    async def failed(pilot) -> None:
        await opened(pilot, "nobody is signed in")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "r: try again" in text_of(pilot.app))

    assert snap_compare(shelf.app(), terminal_size=size, run_before=failed)


@sizes
def test_choosing_a_target(snap_compare, shelf: Stage, size) -> None:
    async def listed(pilot) -> None:
        await opened(pilot, "ada@contoso.com")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "team.azurecr.io" in text_of(pilot.app))

    assert snap_compare(shelf.app(), terminal_size=size, run_before=listed)


@sizes
def test_a_model_in_a_form(snap_compare, shelf: Stage, size) -> None:
    assert snap_compare(shelf.app(), terminal_size=size, run_before=chosen)


@sizes
def test_the_models_details(snap_compare, shelf: Stage, size) -> None:
    async def shown(pilot) -> None:
        await chosen(pilot)
        pilot.app.screen.form.query_one("#details").press()
        await until(pilot, lambda: "The model in the store" in text_of(pilot.app))

    assert snap_compare(shelf.app(), terminal_size=size, run_before=shown)


@sizes
@pytest.mark.parametrize("rights", [HELD, MISSING], ids=["held", "missing"])
def test_a_whole_plan(snap_compare, shelf: Stage, size, rights: tuple[Right, ...]) -> None:
    image = shelf.images.find("edge-toolkit/travel-cpu:0004")
    assert image
    layers = layers_of(shelf.images, image.id)
    planned = tuple(PlannedLayer(layer, "missing" if layer.name == "adapter persona" else "present", layer.bytes) for layer in layers)
    push = PublishPlan(image.tags[0], image.id, f"{TARGET}:0004", planned, "new", images_read=1, via="direct")
    plan = WholePlan(push if rights is HELD else None, WORKSPACE.id, "travel", Planned("4"), rights)

    async def shown(pilot) -> None:
        await chosen(pilot)
        pilot.app.screen.query_one(Moves).show_plan(plan)
        pilot.app.screen.point_at_what_the_plan_lacks(plan)
        await until(pilot, lambda: "travel:4 would be registered" in text_of(pilot.app))

    assert snap_compare(shelf.app(), terminal_size=size, run_before=shown)


@sizes
def test_a_model_under_way(snap_compare, shelf: Stage, size) -> None:
    under_way(shelf, *pushed(), ev.StepStarted(at=NOW - 11, step="register"), UPLOADING)

    async def shown(pilot) -> None:
        await chosen(pilot)
        await until(pilot, lambda: "Uploading" in text_of(pilot.app))

    assert snap_compare(shelf.app(), terminal_size=size, run_before=shown)


@sizes
def test_all_of_it_is_published(snap_compare, shelf: Stage, size) -> None:
    run = under_way(shelf, *pushed(), ev.StepStarted(at=NOW - 11, step="register"), UPLOADING)
    metrics = {"bytes_sent": 129_000_000.0, "bytes_there": 24_400_000.0}
    made = ev.ArtifactWritten(at=NOW, step="register", kind="registered", path="azureml:travel:4", bytes=153_400_000)

    async def ended(pilot) -> None:
        await chosen(pilot)
        await until(pilot, lambda: "Uploading" in text_of(pilot.app))
        shelf.engine.says(run, made, ev.StepFinished(at=NOW, step="register", seconds=11, metrics=metrics))
        shelf.engine.says(
            run, ev.StepStarted(at=NOW, step="link"), ev.StepFinished(at=NOW, step="link", seconds=1), ev.RunFinished(at=NOW, seconds=40)
        )
        await until(pilot, lambda: "y copies both" in text_of(pilot.app))
        await noticed(pilot, f"{run.id} finished")

    assert snap_compare(shelf.app(), terminal_size=size, run_before=ended)


@sizes
def test_a_version_that_is_taken(snap_compare, shelf: Stage, size) -> None:
    run = under_way(shelf, *pushed(), ev.StepStarted(at=NOW - 11, step="register"))
    error = "travel:3 is there with other content."

    async def taken(pilot) -> None:
        await chosen(pilot)
        await until(pilot, lambda: "register ..." in text_of(pilot.app))
        shelf.engine.says(run, ev.StepFailed(at=NOW, step="register", error=error, hint="Another.", cause="VersionTaken"))
        await until(pilot, lambda: f"{run.id}: failed" in text_of(pilot.app) and error in text_of(pilot.app))
        await noticed(pilot, f"{run.id} failed")

    assert snap_compare(shelf.app(), terminal_size=size, run_before=taken)
