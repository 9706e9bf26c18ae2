"""How the New-run screen looks: each page and state in the small terminal, the main ones in the large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.cli.desk import write_model, write_rows
from tests.tui.stage import LARGE, SMALL, Stage, text_of, until
from toolkit.core.forecast import CACHED, RUNS, UNKNOWN, Forecast
from toolkit.settings import CHECKOUT, Settings
from toolkit.tui.messages import EditRecipe

RECIPE = (CHECKOUT / "data" / "recipes" / "travel.toml").read_text("utf-8")


class Scene(Stage):
    """A home under a name that is the same everywhere, as pictures need it."""

    @property
    def settings(self) -> Settings:
        return Settings(home=Path("home"), theme="dark", devices=CHECKOUT / "data" / "devices")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A folder with a recipe, its data and a model whose weights are zeros."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "home" / "models" / "someone--small@main")
    for name, word in (("travel", "The capital is number"), ("persona", "Aye, it be number")):
        rows = [{"prompt": f"What is the capital of country {n}?", "response": f"{word} {n}." * (1 + n % 5)} for n in range(60)]
        write_rows(tmp_path / f"{name}.jsonl", *rows)
        write_rows(tmp_path / f"{name}-held-out.jsonl", {"prompt": "And of another?", "response": "It is."})
    text = RECIPE.replace("sample:smollm2-135m-instruct", "someone/small")
    for name in ("travel", "persona"):
        text = text.replace(f"../samples/{name}/train.jsonl", f"{name}.jsonl").replace(
            f"../samples/{name}/held_out.jsonl", f"{name}-held-out.jsonl"
        )
    (tmp_path / "travel.toml").write_text(text.replace('calibration = ["../samples/calibration.jsonl"]\n', ""))
    return Scene(tmp_path)


async def opened(pilot: Pilot) -> None:
    pilot.app.post_message(EditRecipe("travel.toml"))
    await until(pilot, lambda: getattr(pilot.app.screen, "place", "") == "new" and pilot.app.screen.draft.path == Path("travel.toml"))
    await until(pilot, lambda: "HfModel" in pilot.app.screen.olive.text)


def page(letter: str, words: str) -> Callable:
    async def turn(pilot: Pilot) -> None:
        await opened(pilot)
        await pilot.press(letter)
        await until(pilot, lambda: words in text_of(pilot.app))

    return turn


async def wrong(pilot: Pilot) -> None:
    await opened(pilot)
    box = pilot.app.screen.form.row_of(("finetune", "rank")).query_one(Input)
    box.focus()
    box.value = "999"  # at once: what stands between single keys may or may not be looked at
    box.action_end()
    await until(pilot, lambda: "from 1 to 512; got 999" in text_of(pilot.app))


async def choosing(pilot: Pilot) -> None:
    await opened(pilot)
    await pilot.press("ctrl+n")
    await until(pilot, lambda: pilot.app.screen.draft.is_changed)
    pilot.app.screen.open_or_ask(Path("other.toml"))
    await until(pilot, lambda: "unsaved?" in text_of(pilot.app))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_the_form(scene: Scene, snap_compare, size) -> None:
    assert snap_compare(scene.app(), terminal_size=size, run_before=opened)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_a_wrong_value(scene: Scene, snap_compare, size) -> None:
    assert snap_compare(scene.app(), terminal_size=size, run_before=wrong)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_the_data(scene: Scene, snap_compare, size) -> None:
    assert snap_compare(scene.app(), terminal_size=size, run_before=page("d", "record 1"))


def test_the_toml(scene: Scene, snap_compare) -> None:
    assert snap_compare(scene.app(), terminal_size=SMALL, run_before=page("t", "[model]"))


def test_olives_configuration(scene: Scene, snap_compare) -> None:
    assert snap_compare(scene.app(), terminal_size=SMALL, run_before=page("o", "HfModel"))


def test_changes_that_would_be_lost(scene: Scene, snap_compare) -> None:
    assert snap_compare(scene.app(), terminal_size=SMALL, run_before=choosing)


async def planned(pilot: Pilot) -> None:
    """The plan of a run after another; times and free bytes are fixed here, since those of this machine change."""
    await page("p", "steps run")(pilot)
    screen = pilot.app.screen
    states = [CACHED, RUNS, CACHED, CACHED, RUNS, UNKNOWN, RUNS, CACHED]
    steps = tuple(
        replace(step, state=state, seconds=37.0, basis="as before, once")
        for step, state in zip(screen.seen.forecast.steps, states, strict=True)
    )
    ahead = Forecast(steps, 1_500_000_000, 63_000_000_000, ("The cache holds 2 steps of runs that are gone.",))
    screen.show_seen(replace(screen.seen, forecast=ahead), screen.recipe)


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_the_plan(scene: Scene, snap_compare, size) -> None:
    assert snap_compare(scene.app(), terminal_size=size, run_before=planned)
