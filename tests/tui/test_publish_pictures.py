"""Pictures of publishing."""

from __future__ import annotations

import pytest

from tests.tui.shelf import add_image
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from toolkit.core import events as ev
from toolkit.core.engine import Image
from toolkit.core.image_layers import layers_of
from toolkit.core.publish_plan import PlannedLayer, PublishPlan
from toolkit.core.run import Run
from toolkit.core.whole_plan import WholePlan
from toolkit.tui.widgets.moves import Moves

TARGET = "contoso.azurecr.io/travel"
PARTS = {
    "runtime 1": [30_410_428, 30_410_428],
    "runtime 2": [97_455_925, 97_455_925],
    "model": [47_000_000, 106_939_968],
    "adapter persona": [11_000_000, 23_251_960],
    "adapter travel": [0, 23_251_960],
    "configuration": [99, 99],
}
PUSHING = ev.StepProgress(at=NOW, step="push", done=58_000_000, total=153_000_000, unit="bytes", message="3 of 6 layers there", parts=PARTS)


@pytest.fixture
def image(stage: Stage) -> Image:
    return add_image(stage, 4, {"persona": "p2", "travel": "t1"}, age=4000)


def push_under_way(stage: Stage, *events: ev.Event) -> Run:
    run = stage.add_run("publish", steps=("push", "verify"), age=12)
    stage.drive(run)
    stage.engine.says(run, ev.StepStarted(at=NOW - 9, step="push"), *events)
    return run


async def opened(pilot, text: str) -> None:
    await pilot.press("5")
    await until(pilot, lambda: text in text_of(pilot.app) and "travel-cpu:0004" in text_of(pilot.app))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_plan(snap_compare, stage: Stage, image: Image, size) -> None:
    layers = layers_of(stage.images, image.id)
    planned = tuple(PlannedLayer(layer, "missing" if layer.name == "adapter persona" else "present") for layer in layers)
    plan = PublishPlan(image.tags[0], image.id, f"{TARGET}:0004", planned, "other", f"sha256:{'3f' * 32}", 3, 3)

    async def shown(pilot) -> None:
        await opened(pilot, "Enter or ^l")
        pilot.app.screen.form.target.value = TARGET
        pilot.app.screen.form.target.focus()
        pilot.app.screen.query_one(Moves).show_plan(WholePlan(plan))
        await until(pilot, lambda: "1 of 6 layers move" in text_of(pilot.app))

    assert snap_compare(stage.app(), terminal_size=size, run_before=shown)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_push_under_way(snap_compare, stage: Stage, image: Image, size) -> None:
    push_under_way(stage, PUSHING)
    assert snap_compare(stage.app(), terminal_size=size, run_before=lambda pilot: opened(pilot, "moving"))


def test_a_push_that_is_done(snap_compare, stage: Stage, image: Image) -> None:
    done = ev.StepFinished(at=NOW, step="push", seconds=9, metrics={"layers_pushed": 3, "layers_already_there": 3})
    left = ev.ArtifactWritten(at=NOW, step="verify", kind="release", path=f"{TARGET}@sha256:{'3f' * 32}", bytes=178_002_089)
    run = push_under_way(stage, PUSHING, done)

    async def ended(pilot) -> None:
        await opened(pilot, "there")
        stage.engine.says(run, ev.StepStarted(at=NOW, step="verify"), left, ev.RunFinished(at=NOW, seconds=10))
        await until(pilot, lambda: "Pushed and read back" in text_of(pilot.app))

    assert snap_compare(stage.app(), terminal_size=SMALL, run_before=ended)


def test_a_push_that_was_refused(snap_compare, stage: Stage, image: Image) -> None:
    run = push_under_way(stage, PUSHING)
    hint = "Give user and password, or set EDGE_REGISTRY_USERNAME and EDGE_REGISTRY_PASSWORD."
    error = f"The registry refused the credentials for {TARGET}:0004."

    async def refused(pilot) -> None:
        await opened(pilot, "moving")
        stage.engine.says(run, ev.StepFailed(at=NOW, step="push", error=error, hint=hint, cause="RegistryDenied"))
        await until(pilot, lambda: "failed" in text_of(pilot.app))

    assert snap_compare(stage.app(), terminal_size=SMALL, run_before=refused)
