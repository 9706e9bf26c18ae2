"""`edge chat` without a terminal: prompt files, models beside one another, transcripts."""

from __future__ import annotations

import json

import pytest

from tests.cli.desk import write_rows
from tests.cli.test_commands import packaged  # noqa: F401  a fixture


def test_a_prompt_file_is_asked_of_base_and_adapter(packaged) -> None:  # noqa: F811
    write_rows(packaged.folder / "p.jsonl", {"prompt": "say: one"}, {"prompt": "say: two"})
    done = packaged.edge("chat", "2", "--prompts-file", packaged.folder / "p.jsonl", "--compare", "base,travel", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["model"], row["answer"]) for row in rows] == [
        ("base", "one "), ("travel", "travel one "), ("base", "two "), ("travel", "travel two "),
    ]  # fmt: skip
    assert "4 of 4" in done.stderr and "travel: 2 answers, 0 refused, 6 tokens" in done.stderr


def test_the_conversation_is_saved_with_its_system_prompt(packaged) -> None:  # noqa: F811
    page = packaged.folder / "kept.md"
    done = packaged.edge("chat", "2", "--prompt", "say: one", "--prompt", "say: two", "--system", "Be brief.", "--save", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "- system prompt: Be brief." in text and text.count("### To the base") == 2


def test_every_prompt_of_a_file_is_in_the_transcript(packaged) -> None:  # noqa: F811
    (packaged.folder / "p.txt").write_text("say: one\nsay: two\n")
    page = packaged.folder / "kept.md"
    done = packaged.edge("chat", "2", "--prompts-file", packaged.folder / "p.txt", "--save", page)
    assert "[base] say: one\none" in done.stdout
    assert page.read_text().count("### To the base") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--prompt", "x", "--prompts-file", "P"], 2, "not both"),
        (["--compare", "base,travel"], 2, "--compare needs"),
        (["--prompts-file", "EMPTY"], 3, "holds no prompt"),
        (["--compare", "base,nobody", "--prompt", "x"], 7, "There is no adapter 'nobody'"),
    ],
)
def test_what_cannot_be_asked_is_told(packaged, arguments: list[str], code: int, said: str) -> None:  # noqa: F811
    (packaged.folder / "P").write_text("x\n")
    (packaged.folder / "EMPTY").write_text("\n")
    done = packaged.edge("chat", "2", *(packaged.folder / word if word in ("P", "EMPTY") else word for word in arguments))
    assert done.returncode == code and said in done.stderr
