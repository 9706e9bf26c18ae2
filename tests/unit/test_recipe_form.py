"""The form of a recipe comes from the recipe's own types, and reads what is typed as the recipe would."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from toolkit.core.recipe import Evaluate, Finetune, Part, Recipe
from toolkit.core.recipe_form import FormField, WrongValue, fields_in, parsed, sections, shown


def field(*place: str) -> FormField:
    return next(field for section in sections() for field in section.fields if field.place == place)


def test_every_key_of_a_recipe_has_a_field_with_its_own_help():
    parts = {name: info.annotation for name, info in Recipe.model_fields.items()}
    for section in sections()[1:]:
        part = parts[section.name] if isinstance(parts[section.name], type) else parts[section.name].__args__[0]
        assert [field.name for field in section.fields] == list(part.model_fields)
    assert [section.name for section in sections()] == ["", "model", "data", "quantize", "finetune", "adapters", "export", "evaluate"]
    assert all(field.help for section in sections() for field in section.fields)


def test_a_new_key_of_a_recipe_appears_by_itself():
    class Stirring(Part):
        speed: int = Field(3, gt=0, le=9, description="How fast.")
        way: Literal["left", "right"] = "left"

    class Longer(Evaluate):
        patience: float = Field(0.5, ge=0, lt=1, description="How long to wait.")

    class Newer(Recipe):
        evaluate: Longer = Longer()
        stirring: Stirring = Stirring()

    found = {field.place: field for section in sections(Newer) for field in section.fields}
    assert str(found["evaluate", "patience"].bounds) == "from 0 to below 1"
    assert found["stirring", "speed"].limits == "a whole number above 0, up to 9"
    assert found["stirring", "way"].choices == ("left", "right")


def test_bounds_and_defaults_are_the_recipes_own():
    rank = field("finetune", "rank")
    assert (rank.kind, rank.limits, rank.default) == ("number", "a whole number from 1 to 512", Finetune().rank)
    assert field("finetune", "alpha").limits == "a number above 0"
    assert field("finetune", "max_steps").limits == "a whole number 0 or more"


def test_each_kind_of_value_has_its_kind_of_field():
    kinds = {
        ("name",): "text",
        ("model", "trust_remote_code"): "flag",
        ("data", "text_template"): "long",
        ("quantize", "algorithm"): "choice",
        ("finetune", "learning_rate"): "number",
        ("adapters", "train"): "list",
        ("adapters", "held_out"): "list",
        ("adapters", "finetune"): "table",
        ("devices",): "list",
    }
    assert {place: field(*place).kind for place in kinds} == kinds
    assert field("name").is_required and not field("finetune", "rank").is_required


def test_the_adapters_fields_stand_once_for_each_adapter():
    places = [field.place for field in fields_in({"adapters": [{}, {}]})]
    assert ("adapters", 0, "train") in places and ("adapters", 1, "train") in places
    assert [field.place[0] for field in fields_in({"adapters": "odd"})].count("adapters") == 0


@pytest.mark.parametrize(
    ("place", "text", "value"),
    [
        (("finetune", "rank"), " 8 ", 8),
        (("finetune", "learning_rate"), "2e-3", 0.002),
        (("quantize", "group_size"), "64", 64),
        (("quantize", "algorithm"), "rtn", "rtn"),
        (("model", "trust_remote_code"), "true", True),
        (("adapters", "train"), "a.jsonl, b.jsonl", ["a.jsonl", "b.jsonl"]),
        (("adapters", "train"), '"one, two.jsonl", "b.jsonl"', ["one, two.jsonl", "b.jsonl"]),
        (("adapters", "held_out"), "0.2", 0.2),
        (("adapters", "held_out"), "kept.jsonl", ["kept.jsonl"]),
        (("adapters", "finetune"), "epochs = 2.0, rank = 8", {"epochs": 2.0, "rank": 8}),
        (("devices",), "[]", []),
    ],
)
def test_what_is_typed_is_read_as_the_field_takes_it(place, text, value):
    found = parsed(field(*place), text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("value", [8, 0.002, 1e-30, "text", True, ["a", "b, c", 'd"'], {"epochs": 2.0, "targets": ["q_proj"]}, []])
def test_what_is_shown_is_read_back_as_the_same(value):
    kind = {bool: "flag", int: "number", float: "number", str: "text", list: "list", dict: "table"}[type(value)]
    assert parsed(FormField(("x",), kind, is_whole=isinstance(value, int)), shown(value) or "[]") == value


@pytest.mark.parametrize(
    ("place", "text", "told"),
    [
        (("finetune", "rank"), "many", "a whole number from 1 to 512; got 'many'"),
        (("finetune", "rank"), "1.5", "a whole number from 1 to 512; got"),
        (("finetune", "alpha"), "x", "a number above 0; got 'x'"),
        (("adapters", "finetune"), "epochs 2", "not TOML"),
        (("adapters", "train"), '"open', "not TOML"),
    ],
)
def test_what_is_no_value_at_all_says_what_one_would_be(place, text, told):
    with pytest.raises(WrongValue, match=told):
        parsed(field(*place), text)
