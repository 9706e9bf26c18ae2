"""The text of a recipe is changed one value at a time; what a person wrote around it stays."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.core.recipe import load, read
from toolkit.core.recipe_text import (
    moved,
    opened,
    place_to_save,
    recipes,
    sample_recipe,
    saved,
    with_adapter,
    with_value,
    without,
    without_adapter,
)
from toolkit.errors import RecipeError
from toolkit.settings import CHECKOUT, Settings

SAMPLE = (CHECKOUT / "data" / "recipes" / "travel.toml").read_text("utf-8")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.mark.parametrize(
    ("place", "value", "old", "new"),
    [
        (("finetune", "rank"), 8, "rank = 16", "rank = 8"),
        (("devices",), ["cpu", "pi"], 'devices = ["cpu"]    ', 'devices = ["cpu", "pi"]    '),
        (("quantize", "algorithm"), "rtn", 'algorithm = "awq" ', 'algorithm = "rtn" '),
        (("adapters", 1, "finetune"), {"epochs": 1.0}, "{ epochs = 2.0 } ", "{epochs = 1.0} "),
        (("adapters", 0, "held_out"), 0.1, '["../samples/travel/held_out.jsonl"]', "0.1"),
    ],
)
def test_one_value_changes_and_every_other_character_stays(place, value, old, new):
    assert with_value(SAMPLE, place, value) == SAMPLE.replace(old, new, 1)


def test_the_same_value_changes_nothing():
    assert with_value(SAMPLE, ("finetune", "learning_rate"), 0.002) == SAMPLE  # written as 2e-3


def test_a_table_that_is_not_there_is_made():
    text = with_value(SAMPLE, ("export", "precision"), "int8")
    assert text == SAMPLE + '\n[export]\nprecision = "int8"\n'


def test_a_default_takes_the_key_out_and_a_template_keeps_its_lines():
    assert "rank" not in without(SAMPLE, ("finetune", "rank"))
    assert without(SAMPLE, ("export", "precision")) == SAMPLE
    text = with_value(SAMPLE, ("data", "text_template"), 'a "b"\n\\{prompt}\n{response}\n')
    assert tomllib.loads(text)["data"]["text_template"] == 'a "b"\n\\{prompt}\n{response}\n'
    assert '"""a "b"\n' in text


@pytest.mark.parametrize("text", ["data = 5", "[data"])
def test_what_has_no_such_table_is_refused(text):
    with pytest.raises(RecipeError):
        with_value(text, ("data", "max_tokens"), 20)


def test_adapters_come_and_go():
    two = with_adapter(with_adapter(SAMPLE))
    assert [adapter["name"] for adapter in tomllib.loads(two)["adapters"]] == ["travel", "persona", "adapter", "adapter-2"]
    assert "\n\n[[adapters]]" in two and "\n\n[evaluate]" in two
    assert [a["name"] for a in tomllib.loads(without_adapter(two, 0))["adapters"]] == ["persona", "adapter", "adapter-2"]
    assert tomllib.loads(with_adapter('name = "x"'))["adapters"][0]["name"] == "adapter"


def test_a_copy_in_another_folder_reads_the_same_files(tmp_path):
    for target in (tmp_path / "far" / "away", CHECKOUT / "data" / "other", CHECKOUT / "data"):
        text = moved(SAMPLE, CHECKOUT / "data" / "recipes", target)
        here, _ = read(SAMPLE, CHECKOUT / "data" / "recipes" / "travel.toml")
        there, problems = read(text, target / "travel.toml")
        assert there == here, problems


def test_a_model_folder_and_single_paths_move_too(tmp_path):
    text = '[model]\nsource = "./model"\n[[adapters]]\nname = "a"\ntrain = "rows.jsonl"\nheld_out = 0.1\n'
    found = tomllib.loads(moved(text, tmp_path / "a", tmp_path / "b"))
    assert (found["model"]["source"], found["adapters"][0]["train"]) == ("../a/model", "../a/rows.jsonl")


def test_the_sample_comes_first_then_ones_own_then_those_of_the_folder(settings, tmp_path):
    settings.recipes.mkdir(parents=True)
    (settings.recipes / "mine.toml").write_text(SAMPLE)
    (tmp_path / "here.toml").write_text(SAMPLE)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    found = recipes(settings, tmp_path)
    assert [(file.path.name, file.origin) for file in found] == [("travel.toml", "sample"), ("mine.toml", "yours"), ("here.toml", "here")]


def test_the_sample_stays_first_where_ones_own_recipes_lie_beside_it():
    own = Settings(home=CHECKOUT / "data")
    assert recipes(own, CHECKOUT)[0].is_original
    assert [file.path for file in recipes(own, CHECKOUT)].count(sample_recipe(own)) == 1


def test_the_sample_is_saved_under_a_name_that_is_free(settings):
    assert place_to_save(settings, sample_recipe(settings), SAMPLE) == settings.recipes / "travel-2.toml"
    settings.recipes.mkdir(parents=True)
    (settings.recipes / "travel-2.toml").write_text("")
    assert place_to_save(settings, sample_recipe(settings), SAMPLE) == settings.recipes / "travel-3.toml"
    own = settings.recipes / "travel-2.toml"
    assert place_to_save(settings, own, SAMPLE) == own


def test_a_draft_knows_what_happened_to_its_file(settings):
    draft = saved(replace(opened(sample_recipe(settings)), text=SAMPLE + "# mine\n"), settings.recipes / "mine.toml")
    assert not draft.is_changed and not draft.disk_news()
    assert load(draft.path).adapters == load(sample_recipe(settings)).adapters
    draft.path.write_text("longer" * 1000)
    assert draft.disk_news() == "changed"
    draft.path.unlink()
    assert draft.disk_news() == "gone"


def test_a_folder_that_cannot_be_written_is_named(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="cannot be written"):
        saved(opened(sample_recipe(settings)), tmp_path / "file" / "mine.toml")
