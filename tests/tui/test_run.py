"""The run screen: what a person sees of a run and can do with it, whenever they come and whatever happens under it."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from tests.tui import stories
from tests.tui.stage import LARGE, NOW, SMALL, Stage, text_of, until
from toolkit.core import events as ev
from toolkit.core import lifecycle
from toolkit.core.run import Run
from toolkit.tui.messages import ShowRun
from toolkit.tui.screens.run import RunScreen
from toolkit.tui.widgets.run_plots import RunPlots


@pytest.fixture
def build(stage: Stage) -> Run:
    return stories.wired(stage.add_run(age=200))


@asynccontextmanager
async def shown(stage: Stage, run: Run, size: tuple[int, int] = LARGE):
    """The app with this run open."""
    async with stage.app().run_test(size=size) as pilot:
        await pilot.pause()
        pilot.app.post_message(ShowRun(run.id))
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.picture.state.kind)
        yield pilot


def sees(pilot: Pilot, *texts: str):
    return lambda: all(text in text_of(pilot.app) for text in texts)


async def test_who_comes_late_sees_the_curve_the_machine_and_the_events_from_the_first(stage, build):
    stage.drive(build)
    stories.build(build, NOW - 190, until="finetune-travel", share=0.5)
    async with shown(stage, build) as pilot:
        await until(pilot, sees(pilot, "finetune-travel", "running", "quantize done in 53 s", "learning rate", "CPU"))
        drawn = pilot.app.screen.query_one(RunPlots).loss._lines[0].curve
        assert (drawn.xs[0], drawn.xs[-1]) == (1, 58)
        stage.engine.says(build, ev.StepProgress(at=NOW, step="finetune-travel", done=100, total=117, unit="steps", metrics={"loss": 0.01}))
        await until(pilot, sees(pilot, "85%", "loss 0.01"))


async def test_a_killed_driver_shows_as_interrupted_and_r_resumes(stage, build):
    stage.drive(build)
    stories.build(build, NOW - 190, until="finetune-travel", share=0.5)
    async with shown(stage, build, SMALL) as pilot:
        await until(pilot, sees(pilot, "running"))
        stage.engine.dies(build, 137, out_of_memory=True)
        await until(pilot, sees(pilot, "interrupted: out of memory", "r Resume"))
        await pilot.press("r")
        await until(pilot, lambda: stage.engine.starts == [build.id, build.id])
        await until(pilot, sees(pilot, "try 2", "running", "s Stop"))
        assert "out of memory" not in text_of(pilot.app)


async def test_a_run_resumed_elsewhere_is_followed_on(stage, build):
    stage.drive(build)
    stage.engine.says(build, ev.StepStarted(step="quantize"), ev.StepFailed(step="quantize", error="the weights are upside down"))
    stage.engine.dies(build, 1)
    async with shown(stage, build) as pilot:
        await until(pilot, sees(pilot, "failed"))
        lifecycle.resume(stage.engine, build)
        stage.engine.finishes(build)
        await until(pilot, sees(pilot, "finished", "p Package"))


async def test_a_failing_step_shows_its_error_and_its_hint(stage, build):
    stage.drive(build)
    stories.build(build, NOW - 190, until="export-cpu", share=0.0)
    failed = ev.StepFailed(step="export-cpu", error="no room on the disk", hint="`edge clean` shows what can go.")
    stage.engine.says(build, failed)
    stage.engine.dies(build, 1)
    async with shown(stage, build, SMALL) as pilot:
        await until(pilot, sees(pilot, "FAILED", "no room on the disk", "`edge clean` shows what can go.", "r Resume"))


async def test_a_run_deleted_under_it_is_told_and_offers_nothing(stage, build):
    stories.build(build, NOW - 190)
    async with shown(stage, build) as pilot:
        await until(pilot, sees(pilot, "p Package"))
        lifecycle.remove(stage.engine, build)
        await until(pilot, sees(pilot, f"{build.id} was deleted"))
        await until(pilot, lambda: "p Package" not in text_of(pilot.app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunScreen))


async def test_an_engine_that_is_gone_is_told_until_it_is_back(stage, build):
    stories.build(build, NOW - 190, until="finetune-travel", share=0.5)
    stage.engine.alive[build.id] = os.open(os.devnull, os.O_RDONLY)
    stage.is_engine_down = True
    async with shown(stage, build) as pilot:
        await until(pilot, sees(pilot, "does not answer", "Start it", "running"))
        stage.is_engine_down = False
        await until(pilot, lambda: "does not answer" not in text_of(pilot.app))
        stage.engine.dies(build, 1)
        await until(pilot, sees(pilot, "interrupted"))


async def test_stopping_asks_first_and_no_leaves_it_at_work(stage, build):
    stage.drive(build)
    async with shown(stage, build, SMALL) as pilot:
        await until(pilot, sees(pilot, "s Stop"))
        await pilot.press("s")
        await until(pilot, sees(pilot, f"Stop {build.id}?"))
        await pilot.press("n")
        await until(pilot, lambda: "Stop 0001" not in text_of(pilot.app))
        assert lifecycle.is_driven(stage.engine, build)
        await pilot.press("s")
        await until(pilot, sees(pilot, f"Stop {build.id}?"))
        await pilot.press("y")
        await until(pilot, sees(pilot, "stopped by request", "r Resume"))


async def test_a_finished_build_shows_sizes_before_and_after_and_what_was_measured(stage, build):
    stories.build(build, NOW - 190)
    async with shown(stage, build) as pilot:
        await until(pilot, sees(pilot, "272.6 MB → 106.9 MB", "19.6 MB → 23.3 MB", "base, PyTorch", "26.21", "88%"))


async def test_of_several_fine_tunings_the_curve_is_chosen_by_arrows(stage):
    steps = ("quantize", "finetune-travel", "finetune-persona")
    run = stage.add_run(steps=steps)
    stories.build(run, NOW - 900)
    async with shown(stage, run) as pilot:
        await until(pilot, sees(pilot, "finetune-persona (2 of 2"))
        await pilot.press("m", "left")
        await until(pilot, sees(pilot, "finetune-travel (1 of 2"))


async def test_the_panes_are_tabs_where_there_is_little_room_and_all_there_where_there_is_much(stage, build):
    stories.build(build, NOW - 190)
    (build.folder / "log.txt").write_text("the raw output\n")
    async with shown(stage, build, SMALL) as pilot:
        await until(pilot, sees(pilot, "[Steps]", "base, PyTorch"))
        await pilot.press("tab")
        await until(pilot, sees(pilot, "[Curves]", "learning rate"))
        await pilot.press("tab")
        await until(pilot, sees(pilot, "[Log]", "the raw output"))
        await pilot.press("tab")
        await until(pilot, sees(pilot, "[Events]", "quantize done in 53 s"))
        await pilot.press("shift+tab")
        await until(pilot, sees(pilot, "[Log]"))
        await pilot.resize_terminal(*LARGE)
        await until(pilot, sees(pilot, "base, PyTorch", "learning rate", "the raw output", "finished in"))
        assert "[Log]" not in text_of(pilot.app)


async def test_a_tab_is_chosen_by_the_mouse(stage, build):
    stories.build(build, NOW - 190)
    async with shown(stage, build, SMALL) as pilot:
        await until(pilot, sees(pilot, "[Steps]"))
        await pilot.click(pilot.app.screen.tabs.children[3])
        await until(pilot, sees(pilot, "[Events]"))


async def test_enter_opens_the_log_of_the_step_under_the_cursor_and_l_that_of_the_run(stage, build):
    stories.build(build, NOW - 190)
    (build.folder / "log.txt").write_text("the whole output\n")
    (build.folder / "steps" / "finetune-travel").mkdir(parents=True)
    (build.folder / "steps" / "finetune-travel" / "log.txt").write_text("what fine-tuning said\n")
    async with shown(stage, build, SMALL) as pilot:
        await until(pilot, sees(pilot, "finetune-travel"))
        await pilot.press("down", "down", "enter")
        await until(pilot, sees(pilot, "what fine-tuning said", "log of finetune-travel"))
        await pilot.press("l")
        await until(pilot, sees(pilot, "the whole output", "log of the run"))


async def test_two_screens_on_one_run_see_the_same(stage, build):
    stage.drive(build)
    async with shown(stage, build) as one, shown(stage, build, SMALL) as other:
        stage.engine.says(build, ev.StepStarted(at=NOW, step="quantize"))
        for pilot in (one, other):
            await until(pilot, sees(pilot, "► quantize", "running"))
        await other.press("s")
        await until(other, sees(other, "Stop 0001"))
        await other.press("y")
        for pilot in (one, other):
            await until(pilot, sees(pilot, "stopped by request"))


async def test_leaving_the_screen_and_quitting_leave_the_run_alone(stage, build):
    stage.drive(build)
    stories.build(build, NOW - 190, until="finetune-travel", share=0.5)
    async with shown(stage, build) as pilot:
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, RunScreen))
        pilot.app.post_message(ShowRun(build.id))
        await until(pilot, sees(pilot, "finetune-travel", "running"))
        await pilot.press("ctrl+q")
    assert lifecycle.is_driven(stage.engine, build)


async def test_a_packaging_run_shows_the_image_and_every_answer(stage):
    tag = "edge-toolkit/travel-cpu:0001"
    run = stage.add_run("package", steps=("collect", "image", "smoke"), age=60)
    stories.package(run, NOW - 50, tag)
    async with shown(stage, run, SMALL) as pilot:
        await until(
            pilot, sees(pilot, "281.4 MB", "128.0 MB runtime", "What is the capital of France?", "a good first stop", "110 tokens/s")
        )
        await until(pilot, sees(pilot, "c Chat"))


async def test_a_publication_shows_each_layer_then_the_digest(stage):
    run = stage.add_run("publish", steps=("push", "verify"), age=60)
    stage.drive(run)
    at = stories.push(run, NOW - 10)
    async with shown(stage, run, SMALL) as pilot:
        await until(pilot, sees(pilot, "adapter travel", "61.8 MB of 103.0 MB", "127.0 MB of 127.0 MB  there"))
        stories.pushed(run, at)
        await until(pilot, sees(pilot, f"sha256:{stories.DIGEST}", "3 layers sent, 1 were there"))


async def test_words_of_others_command_no_terminal_and_no_markup(stage, build):
    stage.drive(build)
    evil = "[bold]loud[/] \x1b]0;title\x07\x1b[31mred"
    stage.engine.says(build, ev.StepStarted(at=NOW, step="quantize"), ev.StepFailed(at=NOW, step="quantize", error=evil, hint=evil))
    async with shown(stage, build) as pilot:
        await until(pilot, sees(pilot, "[bold]loud[/]"))
        assert "\x1b" not in text_of(pilot.app) and "\x07" not in text_of(pilot.app)


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (99, 60), (200, 70)])
async def test_the_terminal_may_have_any_size(stage, build, size):
    stories.build(build, NOW - 190)
    async with shown(stage, build, LARGE) as pilot:
        await pilot.resize_terminal(*size)
        await until(pilot, sees(pilot, "quantize", "finished"))


async def test_a_comparison_shows_its_choices_side_by_side(stage):
    figures = {"general.perplexity": 34.377, "travel.perplexity": 26.2, "graph.bytes": 103_400_000, "tokens_per_second": 150.2}
    steps = ("weigh-float", "quantize-awq", "export-awq", "weigh-awq")
    run = stage.add_run(name="travel-compare", steps=steps, options={"choice": "awq@64"})
    run.append(ev.StepStarted(at=NOW - 90, step="weigh-awq"))
    run.append(ev.StepFinished(at=NOW - 60, step="weigh-awq", seconds=30, metrics=figures))
    run.append(ev.RunFinished(at=NOW - 60, seconds=30))
    async with shown(stage, run) as pilot:
        await until(pilot, sees(pilot, "perplexity of", "general", "travel", "awq@64", "34.38", "26.20", "103.4 MB", "150"))
        assert "Package" not in text_of(pilot.app)
