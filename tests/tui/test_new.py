"""The New-run screen, as a person uses it: the form, the text, the data, the plan, the start."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select

from tests.cli.desk import RECIPE, write_project, write_rows
from tests.fakes import FakeEngine, FakeImages
from tests.tui.stage import LARGE, SMALL, Stage, text_of, until
from toolkit.core.engine import Image
from toolkit.core.recipe_text import sample_recipe
from toolkit.core.run import Run
from toolkit.tui.messages import EditRecipe
from toolkit.tui.screens.new import NewRunScreen
from toolkit.tui.screens.run import RunScreen
from toolkit.tui.widgets.toggles import Tick

COMMENTED = RECIPE.replace("[model]", "[finetune]\nrank = 8   # small\n\n[model]  # the base")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A small project whose model is zeros."""
    write_project(tmp_path / "project")
    (tmp_path / "project" / "recipe.toml").write_text(COMMENTED)
    return tmp_path / "project" / "recipe.toml"


@asynccontextmanager
async def new_run(stage: Stage, path: Path | None = None, size: tuple[int, int] = LARGE) -> AsyncIterator[tuple[Pilot, NewRunScreen]]:
    """The screen over a recipe; over the sample where none is named."""
    async with stage.app().run_test(size=size) as pilot:
        pilot.app.post_message(EditRecipe(str(path))) if path else await pilot.press("2")
        await until(pilot, lambda: isinstance(pilot.app.screen, NewRunScreen) and pilot.app.screen.draft.text)
        screen = pilot.app.screen
        await until(pilot, lambda: screen.draft.path == (path or sample_recipe(stage.settings)) and list(screen.form.rows()))
        await until(pilot, lambda: screen.recipe or screen.problems)
        yield pilot, screen


async def type_into(pilot: Pilot, screen: NewRunScreen, place: tuple, text: str) -> None:
    box = screen.form.row_of(place).query_one(Input)
    box.focus()
    await until(pilot, lambda: box.has_focus)
    await pilot.press("end", "ctrl+u", *text)


def told_at(screen: NewRunScreen, *place: str | int) -> str:
    return screen.form.row_of(place).told


async def write_toml(pilot: Pilot, screen: NewRunScreen, text: str) -> None:
    screen.toml.focus()
    screen.toml.text = text
    await until(pilot, lambda: screen.draft.text == text)


async def test_the_sample_is_there_at_once(stage: Stage) -> None:
    async with new_run(stage, size=SMALL) as (pilot, _):
        await until(pilot, lambda: "built-in sample" in text_of(pilot.app) and "travel (the sample)" in text_of(pilot.app))


async def test_what_is_typed_in_the_form_goes_into_the_text_and_comments_stay(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "12")
        await until(pilot, lambda: screen.toml.text == COMMENTED.replace("rank = 8 ", "rank = 12 "))
        assert screen.recipe.finetune.rank == 12


async def test_what_is_typed_in_the_text_goes_into_the_form(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await write_toml(pilot, screen, COMMENTED.replace("rank = 8", "rank = 77"))
        assert screen.form.row_of(("finetune", "rank")).query_one(Input).value == "77"


async def test_a_choice_goes_into_the_text_and_the_default_takes_it_out_again(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        box = screen.form.row_of(("quantize", "algorithm")).query_one(Select)
        box.focus()
        box.value = "rtn"
        await until(pilot, lambda: 'algorithm = "rtn"' in screen.toml.text)
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "algorithm" not in screen.toml.text)
        assert screen.recipe.quantize.algorithm == "awq"


async def test_an_emptied_field_has_its_default_again(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "")
        await until(pilot, lambda: "rank" not in screen.toml.text)
        assert screen.recipe.finetune.rank == 16


async def test_an_impossible_value_is_told_at_its_field_by_its_line_and_its_bounds_below(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "0")
        await until(pilot, lambda: "a whole number from 1 to 512; got 0" in told_at(screen, "finetune", "rank"))
        assert told_at(screen, "finetune", "rank").startswith("line 5:")
        assert "recipe.toml:5: 'finetune.rank'" in text_of(pilot.app)
        assert "A whole number from 1 to 512." in text_of(pilot.app)
        await pilot.press("backspace", "4")
        await until(pilot, lambda: not told_at(screen, "finetune", "rank") and not screen.problem_bar.told)


async def test_what_is_no_number_stays_as_typed_and_does_not_start(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "many")
        await until(pilot, lambda: "a whole number from 1 to 512; got 'many'" in told_at(screen, "finetune", "rank"))
        assert screen.toml.text == COMMENTED
        await type_into(pilot, screen, ("finetune", "alpha"), "3")
        await until(pilot, lambda: "alpha = 3.0" in screen.toml.text)
        assert screen.form.row_of(("finetune", "rank")).query_one(Input).value == "many"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Nothing is started." in screen.problem_bar.told)
        assert not stage.engine.starts


async def test_broken_toml_names_its_line_and_keeps_the_text_and_the_form(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("t")
        broken = COMMENTED.replace("rank = 8", "rank = = 8")
        await write_toml(pilot, screen, broken)
        await until(pilot, lambda: "recipe.toml:5: not TOML" in text_of(pilot.app))
        assert screen.toml.text == broken
        assert screen.form.row_of(("finetune", "rank")).query_one(Input).value == "8"
        await write_toml(pilot, screen, COMMENTED)
        await until(pilot, lambda: not screen.problem_bar.told)


async def test_an_unknown_key_is_told_with_those_there_are(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await write_toml(pilot, screen, COMMENTED.replace("rank = 8", "rnk = 8"))
        await until(pilot, lambda: "unknown key 'finetune.rnk'" in screen.problem_bar.told and "rank" in screen.problem_bar.told)


async def test_an_adapter_is_added_and_removed(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        rows = len(list(screen.form.rows()))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: screen.form.row_of(("adapters", 1, "name")).has_focus_within)
        assert 'name = "adapter"' in screen.toml.text
        await pilot.press("escape", "x")
        await until(pilot, lambda: "Remove adapter 2" in text_of(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: screen.toml.text.count("[[adapters]]") == 1 and len(list(screen.form.rows())) == rows)


async def test_the_model_is_chosen_by_where_it_comes_from(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        row = screen.form.row_of(("model", "source"))
        await until(pilot, lambda: row.query_one(Select).value == "folder")
        row.query_one(Select).value = "azureml"
        await until(pilot, lambda: 'source = "azureml://' in screen.toml.text)
        await type_into(pilot, screen, ("model", "source"), "someone/model")
        await until(pilot, lambda: row.query_one(Select).value == "hub" and screen.recipe and screen.recipe.model.kind == "hub")


async def test_devices_are_ticked_off_the_catalogue(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        tick = next(tick for tick in screen.query(Tick) if tick.name == "cpu")
        await until(pilot, lambda: tick.value)
        assert "linux/amd64" in str(tick.label)
        tick.focus()
        await pilot.press("space")
        await until(pilot, lambda: "devices = []" in screen.toml.text and told_at(screen, "devices"))


async def test_the_olive_configuration_follows_the_recipe(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "12")
        await until(pilot, lambda: '"r": 12' in screen.olive.text)
        assert json.loads(screen.olive.text)["finetune-travel"]["passes"]["lora"]["r"] == 12


async def test_the_data_is_shown_with_records_lengths_and_problems_by_line(stage: Stage, recipe: Path) -> None:
    rows = recipe.with_name("train.jsonl")
    rows.write_text(rows.read_text() + '{"prompt": "Q", "respons": "A"}\n')
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("d")
        await until(pilot, lambda: "train.jsonl:9: the row has no field 'response'" in text_of(pilot.app))
        assert "Did you mean 'respons'?" in text_of(pilot.app).replace("\n", " ")
        await until(pilot, lambda: "tokens per row:" in text_of(pilot.app) and "Question 0" in text_of(pilot.app))
        await pilot.press("p")
        await until(pilot, lambda: "the data has 1 problem" in text_of(pilot.app))


async def test_terminal_codes_in_data_are_not_sent_to_the_terminal(stage: Stage, recipe: Path) -> None:
    write_rows(recipe.with_name("train.jsonl"), *({"prompt": f"\x1b[31m{n} [red]", "response": f"\x07{n}"} for n in range(8)))
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("d")
        await until(pilot, lambda: "[red]" in text_of(pilot.app))
        assert "\x1b" not in text_of(pilot.app) and "\x07" not in text_of(pilot.app)


async def test_data_that_is_missing_is_told_and_the_rest_is_shown(stage: Stage, recipe: Path) -> None:
    recipe.with_name("train.jsonl").unlink()
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("d")
        await until(pilot, lambda: "does not exist" in text_of(pilot.app))


async def test_the_plan_says_what_runs_and_what_disk_it_needs(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("p")
        await until(pilot, lambda: "5 of 5 steps run" in text_of(pilot.app))
        assert "evaluate-cpu-travel" in text_of(pilot.app) and "are free" in text_of(pilot.app)


async def test_start_opens_the_run(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: stage.engine.starts)
        await until(pilot, lambda: getattr(pilot.app.screen, "place", "") == "home" and pilot.app.screen is not screen)
        assert stage.bench.run("last").request["recipe"]["finetune"]["rank"] == 8


async def test_warnings_are_asked_about_before_the_start(stage: Stage, recipe: Path) -> None:
    rows = recipe.with_name("train.jsonl")
    rows.write_text(rows.read_text() + rows.read_text().splitlines()[0] + "\n")
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Start with a warning?" in text_of(pilot.app) and "repeats" in text_of(pilot.app))
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert not stage.bench.runs()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Start with a warning?" in text_of(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: stage.engine.starts)


async def test_fatal_data_is_refused_before_anything_starts(stage: Stage, recipe: Path) -> None:
    recipe.with_name("train.jsonl").write_text("{broken\n")
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "train.jsonl:1: no valid JSON" in screen.problem_bar.told)
        assert pilot.app.screen is screen and not stage.bench.runs()


async def test_an_engine_that_is_down_is_told_and_nothing_is_left(stage: Stage, recipe: Path) -> None:
    stage.is_engine_down = True
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "does not answer" in screen.problem_bar.told)
        assert not stage.bench.runs()


async def test_what_is_started_is_what_the_screen_says_saved_or_not(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "5")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: stage.engine.starts)
        assert stage.bench.run("last").request["recipe"]["finetune"]["rank"] == 5
        assert recipe.read_text() == COMMENTED


async def test_saving_writes_the_file(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "5")
        await until(pilot, lambda: "[changed]" in text_of(pilot.app))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "rank = 5 " in recipe.read_text() and "[changed]" not in text_of(pilot.app))


async def test_the_sample_is_saved_under_another_name_and_stays_as_it_is(stage: Stage) -> None:
    sample = sample_recipe(stage.settings)
    before = hashlib.sha256(sample.read_bytes()).hexdigest()
    async with new_run(stage) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "5")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Save this recipe as" in text_of(pilot.app))
        await pilot.press("enter")
        saved = stage.settings.recipes / "travel-2.toml"
        await until(pilot, lambda: saved.exists() and screen.draft.path == saved)
        assert all(Path(path).is_file() for adapter in screen.recipe.adapters for path in adapter.train)
        assert "rank = 5" in saved.read_text()
    assert hashlib.sha256(sample.read_bytes()).hexdigest() == before


async def test_the_sample_is_not_written_over_even_by_its_name(stage: Stage) -> None:
    async with new_run(stage) as (pilot, screen):
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Save this recipe as" in text_of(pilot.app))
        await pilot.press("end", "ctrl+u", *str(sample_recipe(stage.settings)), "enter")
        await until(pilot, lambda: "not written over" in screen.problem_bar.told)


async def test_a_file_that_was_changed_meanwhile_is_not_written_over_unasked(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "5")
        await until(pilot, lambda: screen.draft.is_changed)
        recipe.write_text(COMMENTED + "# by somebody else\n")
        await until(pilot, lambda: "changed on the disk meanwhile" in screen.problem_bar.told)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Write over recipe.toml?" in text_of(pilot.app))
        await pilot.press("n")
        assert recipe.read_text().endswith("# by somebody else\n")


async def test_a_file_changed_meanwhile_is_shown_anew_where_nothing_would_be_lost(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        recipe.write_text(COMMENTED.replace("rank = 8", "rank = 33"))
        await until(pilot, lambda: screen.form.row_of(("finetune", "rank")).query_one(Input).value == "33")


async def test_a_file_that_vanished_is_told_and_written_anew_by_saving(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        recipe.unlink()
        await until(pilot, lambda: "is gone from the disk" in screen.problem_bar.told)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: recipe.exists() and recipe.read_text() == COMMENTED)


async def test_unsaved_changes_are_asked_about_before_another_recipe_is_opened(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "5")
        await until(pilot, lambda: screen.draft.is_changed)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "Open which recipe?" in text_of(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "unsaved?" in text_of(pilot.app))
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.draft.path == recipe and screen.recipe.finetune.rank == 5


async def test_unsaved_changes_are_still_there_after_a_look_at_another_place(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "5")
        await pilot.press("escape", "6", "2")
        await until(pilot, lambda: pilot.app.screen is screen and screen.draft.is_changed and "rank = 5 " in screen.toml.text)


async def test_a_recipe_that_cannot_be_read_is_told_and_nothing_is_lost(stage: Stage, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_bytes(b'name = "x"\n# caf\xe9\n')
    async with new_run(stage, recipe) as (pilot, screen):
        pilot.app.post_message(EditRecipe(str(tmp_path / "odd.toml")))
        await until(pilot, lambda: "odd.toml:2: not UTF-8" in screen.problem_bar.told)
        pilot.app.post_message(EditRecipe(str(tmp_path / "none.toml")))
        await until(pilot, lambda: "There is no recipe at" in screen.problem_bar.told)
        assert screen.toml.text == COMMENTED


@pytest.mark.parametrize("line", ["# a comment\n", "key = 1\n", "[[adapters]]\n"], ids=["comments", "keys", "tables"])
async def test_a_hundred_kilobytes_pasted_into_the_text_are_judged_and_can_be_taken_back(stage: Stage, recipe: Path, line: str) -> None:
    from textual import events

    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("t", "down")
        await until(pilot, lambda: screen.toml.has_focus)
        pilot.app.post_message(events.Paste(line * (100_000 // len(line))))
        await until(pilot, lambda: len(screen.draft.text) > 90_000, seconds=20)
        assert (screen.recipe is not None) == line.startswith("#")
        await pilot.press("ctrl+z")
        await until(pilot, lambda: screen.draft.text == COMMENTED, seconds=20)
        assert screen.recipe is not None


async def test_every_page_is_reached_by_its_letter(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        for letter, words in {"t": "# small", "o": "HfModel", "d": "record 1", "p": "5 of 5 steps", "f": "── Model"}.items():
            await pilot.press(letter)
            await until(pilot, lambda words=words: words in text_of(pilot.app))


class SlowImages(FakeImages):
    """It has the build image, but does not say so until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.gate = Event(), Event()

    def find(self, reference: str) -> Image | None:
        self.asked.set()
        self.gate.wait()
        return Image("sha256:build", (reference,), 1, "")


@pytest.fixture
def slow_stage(stage: Stage) -> Iterator[Stage]:
    """A start stops at the engine until the gate opens."""
    stage.images = SlowImages()
    stage.engine.name = "docker"
    yield stage
    stage.images.gate.set()


async def test_a_start_that_was_given_up_starts_nothing_however_late(slow_stage: Stage, recipe: Path) -> None:
    async with new_run(slow_stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "nothing is started then" in text_of(pilot.app))
        await until(pilot, slow_stage.images.asked.is_set)
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        slow_stage.images.gate.set()
    await asyncio.get_running_loop().shutdown_default_executor()  # until every thread has ended
    assert not slow_stage.bench.runs() and not slow_stage.engine.starts


async def test_escape_is_not_offered_once_the_run_is_being_made(stage: Stage, recipe: Path) -> None:
    class Slow(FakeEngine):
        def start(self, run: Run, lock: int) -> None:
            gate.wait()
            super().start(run, lock)

    gate, stage.engine = Event(), Slow()
    try:
        async with new_run(stage, recipe, SMALL) as (pilot, screen):
            await pilot.press("ctrl+r")
            await until(pilot, lambda: "The run is being made" in text_of(pilot.app))
            await pilot.press("escape")
            assert "The run is being made" in text_of(pilot.app) and "Esc: give it up" not in text_of(pilot.app)
            gate.set()
            await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
            assert stage.engine.starts
    finally:
        gate.set()


async def test_a_second_run_of_a_recipe_that_is_running_is_asked_about(stage: Stage, recipe: Path) -> None:
    stage.drive(stage.add_run(name="small"))
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("ctrl+r")
        await until(
            pilot, lambda: "Start another run of small?" in text_of(pilot.app) and "0001-build-small is a run" in text_of(pilot.app)
        )
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert len(stage.bench.runs()) == 1


async def test_what_is_typed_while_the_recipe_is_read_again_stays_in_the_field(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "")
        box = screen.form.row_of(("finetune", "rank")).query_one(Input)
        await until(pilot, lambda: screen._typed)
        with box.prevent(Input.Changed):
            box.value = "7"  # typed, and its message still under way
        await screen.flush()
        assert box.value == "7" and "rank" not in screen.draft.text


async def test_saving_under_another_name_leaves_the_cursor_behind_the_longer_path(stage: Stage) -> None:
    async with new_run(stage) as (pilot, screen):
        box = screen.form.row_of(("adapters", 0, "train")).query_one(Input)
        box.focus()
        await until(pilot, lambda: box.has_focus)
        await pilot.press("end")
        await screen.save_as("mine")
        await until(pilot, lambda: box.value.startswith("/"))
        assert box.cursor_position == len(box.value)


async def test_quitting_asks_about_changes_that_are_not_saved(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await type_into(pilot, screen, ("finetune", "rank"), "5")
        await until(pilot, lambda: screen.draft.is_changed)
        await pilot.press("ctrl+q", "ctrl+q")
        await until(pilot, lambda: "recipe.toml has unsaved changes" in text_of(pilot.app).replace("\n", " "))
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is screen)
        await pilot.press("ctrl+q", "y")
        await until(pilot, lambda: not pilot.app.is_running)


async def test_quitting_asks_nothing_where_nothing_would_be_lost(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, _):
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not pilot.app.is_running)


async def test_the_plan_is_made_anew_when_one_comes_back_to_it(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("p")
        await until(pilot, lambda: "5 of 5 steps run" in text_of(pilot.app) and "gone" not in text_of(pilot.app))
        await pilot.press("6")
        await until(pilot, lambda: pilot.app.screen is not screen)
        (stage.settings.cache / "environment" / "entry").mkdir(parents=True)
        (stage.settings.cache / "environment" / "entry" / "key.json").write_text("{}")
        await pilot.press("2")
        await until(pilot, lambda: "maybe cached" in text_of(pilot.app))


async def test_the_plan_names_the_build_image_that_has_to_be_built_first(stage: Stage, recipe: Path) -> None:
    stage.engine.name = "docker"
    async with new_run(stage, recipe, SMALL) as (pilot, _):
        await pilot.press("p")
        await until(pilot, lambda: "The build image is built first" in text_of(pilot.app))


async def test_a_start_of_a_wrong_recipe_goes_to_the_first_wrong_field(stage: Stage, recipe: Path) -> None:
    recipe.write_text(COMMENTED.replace("rank = 8", "rank = 0"))
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await pilot.press("t", "ctrl+r")
        await until(pilot, lambda: screen.form.row_of(("finetune", "rank")).has_focus_within)
        assert "Nothing is started." in text_of(pilot.app) and "got 0" in told_at(screen, "finetune", "rank")


async def test_a_start_of_what_is_no_toml_goes_to_its_line(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe, SMALL) as (pilot, screen):
        await write_toml(pilot, screen, COMMENTED.replace("rank = 8", "rank = = 8"))
        await pilot.press("f", "ctrl+r")
        await until(pilot, lambda: screen.toml.has_focus and screen.toml.cursor_location == (4, 0))


async def test_defaults_do_not_look_like_values_and_a_checklist_says_how_it_is_ticked(stage: Stage, recipe: Path) -> None:
    async with new_run(stage, recipe) as (pilot, screen):
        assert screen.form.row_of(("finetune", "alpha")).query_one(Input).placeholder == "default: 32.0"
        screen.form.row_of(("devices",)).take_focus()
        await until(pilot, lambda: "Space ticks one" in text_of(pilot.app))
