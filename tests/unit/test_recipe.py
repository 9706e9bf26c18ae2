"""Recipes: what is refused, with the file, the line and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.core.recipe import load, parse
from toolkit.errors import RecipeError

GOOD = '''name = "travel"
devices = ["cpu"]

[model]
source = "sample:smollm2-135m-instruct"

[data]
text_template = """<|user|>
{prompt}
{response}"""

[quantize]
algorithm = "awq"

[finetune]
rank = 8

[[adapters]]
name = "travel"
train = "train.jsonl"

[[adapters]]
name = "pirate"
train = ["a.jsonl", "b.jsonl"]
held_out = 0.2
finetune = { rank = 4 }
'''


def parsed(text: str):
    return parse(text, Path("/recipes/r.toml"))


def test_the_built_in_recipe_is_sound():
    recipe = load(Path("data/recipes/travel.toml"))
    assert [adapter.name for adapter in recipe.adapters] == ["travel", "persona"]
    assert all(Path(path).is_file() for adapter in recipe.adapters for path in adapter.train)


def test_paths_are_taken_from_the_folder_of_the_recipe():
    recipe = parsed(GOOD)
    assert recipe.adapters[0].train == ("/recipes/train.jsonl",)
    assert recipe.adapters[1].train == ("/recipes/a.jsonl", "/recipes/b.jsonl")


def test_an_adapters_own_options_lie_over_the_common_ones():
    recipe = parsed(GOOD)
    assert [recipe.finetune_of(adapter).rank for adapter in recipe.adapters] == [8, 4]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rank = 8", "rnk = 8", r"r\.toml:16: unknown key 'finetune\.rnk'\. Known keys here: .*rank"),
        ("rank = 8", 'rank = "8"', r"r\.toml:16: 'finetune\.rank': a whole number from 1 to 512; got '8'"),
        ("rank = 8", "rank = 0", r"r\.toml:16: 'finetune\.rank': a whole number from 1 to 512; got 0"),
        ("rank = 8", "rank = 8\nlearning_rate = nan", r"r\.toml:17: 'finetune\.learning_rate': a number above 0, up to 1; got nan"),
        ("rank = 8", 'targets = ["q_prj"]', r"r\.toml:16: 'finetune\.targets': unknown projection 'q_prj'; there are: q_proj"),
        ('algorithm = "awq"', 'algorithm = "magic"', r"r\.toml:13: 'quantize\.algorithm': one of awq, gptq, rtn, none; got 'magic'"),
        ('name = "pirate"', 'name = "travel"', r"two adapters are called 'travel'"),
        ('name = "pirate"', 'name = "base"', r"may not be called 'base'"),
        ('name = "pirate"', 'name = "Pirate!"', r"r\.toml:23: 'adapters\.1\.name': a name has lower-case letters.*; got 'Pirate!'"),
        ("held_out = 0.2", "held_out = 0.9", r"r\.toml:25: 'adapters\.1\.held_out': .*not above 0\.5"),
        ("finetune = { rank = 4 }", "finetune = { rang = 4 }", r"r\.toml:26: unknown key 'adapters\.1\.finetune\.rang'"),
        ("finetune = { rank = 4 }", "finetune = { rank = -4 }", r"r\.toml:26: 'adapters\.1\.finetune\.rank'"),
        ("{response}", "{answer}", r"r\.toml:8: 'data\.text_template': must contain \{response\}"),
        ("sample:smollm2-135m-instruct", "sample:gpt", r"r\.toml:5: 'model\.source': there is no such sample"),
        ("sample:smollm2-135m-instruct", "smollm", r"r\.toml:5: 'model\.source': neither a folder"),
        ('source = "sample:smollm2-135m-instruct"', "", r"r\.toml:4: 'model\.source' is missing"),
        ("[quantize]", "[quantize", r"r\.toml:12: not TOML"),
        ('devices = ["cpu"]', "devices = []", r"r\.toml:2: 'devices'"),
        ('name = "travel"\ndevices', "devices", r"'name' is missing"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line_and_remedy(old, new, message):
    assert old in GOOD
    with pytest.raises(RecipeError, match=message):
        parsed(GOOD.replace(old, new, 1))


def test_a_recipe_that_is_not_there_says_where_it_looked(tmp_path):
    with pytest.raises(RecipeError, match="There is no recipe at"):
        load(tmp_path / "no.toml")


def test_a_recipe_in_another_encoding_names_the_line(tmp_path):
    path = tmp_path / "r.toml"
    path.write_bytes(b'name = "x"\n# caf\xe9\n')
    with pytest.raises(RecipeError, match=r"r\.toml:2: not UTF-8"):
        load(path)
